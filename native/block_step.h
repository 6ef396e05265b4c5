// The step of one block: an inverted residual with squeeze-and-excitation (Figure 4 of the paper).
#pragma once

#include <optional>

#include "steps.h"

namespace hswish {

struct SqueezeExcite {
  PackedPointwise reduce, expand;
  Act act = Act::relu;
  bool first = false;  // before the depthwise convolution's non-linearity
};

// Expand and depthwise in one pass, squeeze-and-excitation, projection.
class BlockStep : public Step {
 public:
  PackedPointwise expand, project;
  PackedDepthwise depthwise;
  std::optional<SqueezeExcite> se;
  std::optional<StemStep> stem;  // makes the rows of a block without expansion
  Act act = Act::relu;
  bool residual = false, same = false;

  std::unique_ptr<Step> copy() const override { return std::make_unique<BlockStep>(*this); }

  Shape plan(const Plan& plan) override {
    in_ = stem ? stem->plan(plan) : plan.tensor(inputs[0]).shape;
    check(plan);
    g_ = geometry(in_, depthwise.op.kernel, depthwise.op.stride, depthwise.op.dilation, same);
    maps_ = {g_.out_height, g_.out_width, depthwise.op.channels};
    panels_ = (depthwise.op.channels + plan.kernels.panel - 1) / plan.kernels.panel;
    buffer_ = round_up(plan.kernels.block_work(depthwise.op, g_), 16);
    const long row = maps_.width * maps_.channels;
    // Without squeeze-and-excitation a few rows can be projected at once, and the map need not be stored.
    banded_ = !se && inner < 0 && maps_.size() > 64 * 1024;
    strip_ = std::clamp(48 * 1024 / row, 1L, maps_.height);
    states_.assign(banded_ ? panels_ * plan.pool->count() : 0, {});
    return {maps_.height, maps_.width, project.op.n};
  }
  Shape kept() const override { return maps_; }
  long work(const Plan& plan) const override {
    const long rows = banded_ ? panels_ * buffer_ + strip_ * maps_.width * maps_.channels : buffer_;
    return std::max(rows, plan.kernels.panel * project.op.k) + (stem ? stem->work(plan) : 0);
  }
  long scratch(const Plan&) const override {  // the depthwise output, the gate, the sums, the squeeze
    if (banded_) return 0;
    const long vectors = se ? 2 * round_up(maps_.channels, 16) + round_up(se->reduce.op.n, 16) : 0;
    return round_up(maps_.size(), 16) + vectors;
  }

  void run(Plan& plan) override {
    if (banded_) return run_bands(plan);
    float* maps = inner >= 0 ? plan.data(inner) : plan.scratch();
    float* gate = plan.scratch() + round_up(maps_.size(), 16);
    float* sums = gate + round_up(maps_.channels, 16);
    plan.pool->parallel(panels_, [&](long task, int thread) {
      BlockState state;
      BlockRows op = rows(plan, task, maps + task * plan.kernels.panel, plan.work(thread));
      if (se) op.sums = sums;
      op.stem_work = plan.work(thread) + buffer_;
      op.to = maps_.height;
      plan.kernels.block_rows(op, state);
    });
    if (!se) return project_maps(plan, maps);

    for (long c = 0; c < maps_.channels; c++) sums[c] /= maps_.pixels();
    float* squeezed = sums + round_up(maps_.channels, 16);
    pointwise_parallel(plan, se->reduce.op, se->act, sums, 0, squeezed, nullptr, 1);
    pointwise_parallel(plan, se->expand.op, Act::none, squeezed, 0, gate, nullptr, 1);
    plan.kernels.h_sigmoid(gate, maps_.channels);
    // The gate scales the map, or the weights that the map meets next: whichever has fewer numbers. A map
    // that somebody else wants to see before its gate stays as it is.
    if (se->first || (inner < 0 && maps_.pixels() < project.op.n)) {
      plan.kernels.scale(maps, gate, maps_.channels, maps_.pixels(), se->first ? act : Act::none);
      return project_maps(plan, maps);
    }
    project_scaled(plan, maps, gate);
  }
  void weights(std::vector<Span>& spans) const override {
    if (expand.op.k) spans.push_back(expand.span());
    if (se) spans.push_back(se->reduce.span()), spans.push_back(se->expand.span());
    spans.push_back(project.span());
  }
  std::string name() const override { return stem ? "stem + block" : "block"; }

 private:
  void check(const Plan& plan) const {
    const long channels = depthwise.op.channels;
    require(channels % 8 == 0, "a block has a multiple of 8 channels");
    require(expand.op.k ? round_up(expand.op.k, 8) == in_.channels && expand.op.n == channels : in_.channels == channels,
            "a block's expansion does not fit its input or its depthwise convolution");
    require(project.op.k == channels, "a block's projection does not fit its depthwise convolution");
    require(!stem || (!expand.op.k && !residual && channels <= plan.kernels.panel),
            "a stem goes into a block without expansion or residual, of one panel of channels");
    require(!residual || (depthwise.op.stride == 1 && project.op.n == in_.channels), "a residual has two shapes");
    require(!se || (se->reduce.op.k == channels && round_up(se->expand.op.k, 8) == se->reduce.op.n &&
                    se->expand.op.n == channels),
            "a squeeze-and-excitation does not fit its block");
  }

  BlockRows rows(Plan& plan, long panel, float* out, float* work) const {
    BlockRows op{expand.op,
                 depthwise.op,
                 act,
                 se && se->first ? Act::none : act,
                 g_,
                 panel * plan.kernels.panel,
                 stem ? nullptr : plan.data(inputs[0]),
                 in_.channels,
                 out,
                 maps_.channels,
                 nullptr,
                 work,
                 0,
                 0};
    if (stem) op.stem = &stem->op(), op.picture = &plan.picture, op.stem_act = stem->act(), op.stem_geometry = stem->sizes();
    return op;
  }

  void project_maps(Plan& plan, const float* maps) const {
    pointwise_parallel(plan, project.op, Act::none, maps, maps_.channels, plan.data(output),
                       residual ? plan.data(inputs[0]) : nullptr, maps_.pixels());
  }

  // The projection by weights that are scaled on the way, panel by panel.
  void project_scaled(Plan& plan, const float* maps, const float* gate) const {
    const long n = project.op.n, channels = maps_.channels, pixels = maps_.pixels(), panel = plan.kernels.panel;
    const long panels = (n + panel - 1) / panel, threads = plan.pool->count();
    const long cache = (pixels * channels + 65535) / 65536;
    const long parts = std::max(threads == 1 ? 1 : std::max(1L, 2 * threads / panels), cache);
    const long each = (pixels + parts - 1) / parts;
    plan.pool->parallel(panels * parts, [&](long task, int thread) {
      const long first = task % panels * panel, from = task / panels * each;
      const long width = std::min(panel, n - first), count = std::min(each, pixels - from);
      if (count <= 0) return;
      float* scaled = plan.work(thread);
      plan.kernels.scale_panel(scaled, project.op.weights + first * channels, gate, channels, width);
      Pointwise op{scaled, project.op.bias + first, channels, width};
      const long at = first + from * n;
      plan.kernels.pointwise(op, Act::none, 0, maps + from * channels, channels, plan.data(output) + at, n,
                             residual ? plan.data(inputs[0]) + at : nullptr, count);
    });
  }

  // Each thread takes a band of rows from the input to the projection.
  void run_bands(Plan& plan) {
    const long channels = maps_.channels, panel = plan.kernels.panel, n = project.op.n;
    const long bands = plan.pool->count(), each = (maps_.height + bands - 1) / bands;
    plan.pool->parallel(bands, [&](long band, int thread) {
      BlockState* states = states_.data() + band * panels_;
      std::fill_n(states, panels_, BlockState{});
      float* work = plan.work(thread);
      float* maps = work + panels_ * buffer_;
      const long end = std::min((band + 1) * each, maps_.height);
      for (long y = band * each; y < end; y += strip_) {
        const long count = std::min(strip_, end - y), from = y * maps_.width;
        for (long i = 0; i < panels_; i++) {
          BlockRows op = rows(plan, i, maps + i * panel, work + i * buffer_);
          op.stem_work = maps + strip_ * maps_.width * channels;
          op.from = y, op.to = y + count;
          plan.kernels.block_rows(op, states[i]);
        }
        for (long first = 0; first < n; first += panel)
          plan.kernels.pointwise(project.op, Act::none, first, maps, channels, plan.data(output) + from * n, n,
                                 residual ? plan.data(inputs[0]) + from * n : nullptr, count * maps_.width);
      }
    });
  }

  Shape in_, maps_;
  Geometry g_{};
  bool banded_ = false;
  long panels_ = 0, buffer_ = 0, strip_ = 0;
  std::vector<BlockState> states_;  // of the panels of each band
};

}  // namespace hswish
