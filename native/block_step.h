// The step of one block: an inverted residual with squeeze-and-excitation (Figure 4 of the paper).
#pragma once

#include <optional>

#include "steps.h"

namespace hswish {

template <class T>
struct SqueezeExcite {
  PackedPointwiseOf<T> reduce, expand;
  Act act = Act::relu;
  bool first = false;  // before the depthwise convolution's non-linearity
};

// Expand and depthwise in one pass, squeeze-and-excitation on floats, projection. T: how maps and weights are stored.
template <class T>
class BlockStep : public Step {
 public:
  PackedPointwiseOf<T> expand, project;
  PackedDepthwise depthwise;
  std::optional<SqueezeExcite<T>> se;
  std::optional<StemStep<T>> stem;  // makes the rows of a block without expansion
  Act act = Act::relu;
  bool residual = false, same = false;

  std::unique_ptr<Step> copy() const override { return std::make_unique<BlockStep>(*this); }

  Shape plan(const Plan& plan) override {
    in_ = stem ? stem->plan(plan) : plan.tensor(inputs[0]).shape;
    check(plan);
    g_ = geometry(in_, depthwise.op.kernel, depthwise.op.stride, depthwise.op.dilation, same);
    maps_ = {g_.out_height, g_.out_width, depthwise.op.channels, sizeof(T)};
    panel_ = kernels_of<T>(plan).panel;
    panels_ = (depthwise.op.channels + panel_ - 1) / panel_;
    buffer_ = round_up(kernels_of<T>(plan).block_work(depthwise.op, g_), 16);
    const long row = floats_for<T>(maps_.width * maps_.channels);
    // Threads take bands of rows. Those at a band's edge are made twice; where they would be many, threads take panels.
    const long threads = plan.pool->count();
    const long twice = std::max(0L, (depthwise.op.kernel - 1) * depthwise.op.dilation + 1 - depthwise.op.stride);
    bands_ = 3 * twice * (threads - 1) <= in_.height ? threads : 1;
    // Without squeeze-and-excitation a few rows can be projected at once, and the map need not be stored.
    streamed_ = !se && inner < 0 && (maps_.size() > 64 * 1024 || bands_ > 1);
    strip_ = std::clamp(48 * 1024 / row, 1L, maps_.height);
    states_.assign(streamed_ ? panels_ * bands_ : 0, {});
    return {maps_.height, maps_.width, project.op.n, sizeof(T)};
  }
  Shape kept() const override { return maps_; }
  long work(const Plan& plan) const override {
    const long rows = streamed_ ? panels_ * buffer_ + strip_floats() : buffer_;
    return rows + (stem ? stem->work(plan) : 0);
  }
  long scratch(const Plan&) const override {  // the depthwise output, the gate, the sums, the squeeze, scaled weights
    if (streamed_) return 0;
    if (!se) return map_floats();
    return map_floats() + (1 + bands_) * vector_floats() + round_up(se->reduce.op.n, 16) +
           floats_for<T>(project.op.n * project.op.k);
  }

  void run(Plan& plan) override {
    if (streamed_) return run_streamed(plan);
    T* maps = inner >= 0 ? plan.map<T>(inner) : reinterpret_cast<T*>(plan.scratch());
    float* gate = plan.scratch() + map_floats();
    float* sums = gate + vector_floats();  // of each band
    const long each = (maps_.height + bands_ - 1) / bands_;
    const auto make = [&](long band, long panel, int thread) {
      BlockState state;
      const long from = std::min(band * each, maps_.height);
      BlockRowsOf<T> op = rows(plan, panel, maps + from * maps_.width * maps_.channels + panel * panel_, plan.work(thread));
      if (se) op.sums = sums + band * vector_floats();
      op.stem_work = plan.work(thread) + buffer_;
      op.from = op.rows_from = from, op.to = op.rows_to = std::min(from + each, maps_.height);
      kernels_of<T>(plan).block_rows(op, state);
    };
    if (bands_ > 1)
      plan.pool->parallel(bands_, [&](long band, int thread) {
        for (long panel = 0; panel < panels_; panel++) make(band, panel, thread);
      });
    else
      plan.pool->parallel(panels_, [&](long panel, int thread) { make(0, panel, thread); });
    if (!se) return project_maps(plan, project.op, maps);

    for (long c = 0; c < maps_.channels; c++) {
      for (long band = 1; band < bands_; band++) sums[c] += sums[band * vector_floats() + c];
      sums[c] /= maps_.pixels();
    }
    float* squeezed = sums + bands_ * vector_floats();
    pointwise_parallel(plan, se->reduce.op, se->act, sums, 0, squeezed, nullptr, 1);
    pointwise_parallel(plan, se->expand.op, Act::none, squeezed, 0, gate, nullptr, 1);
    plan.kernels.h_sigmoid(gate, maps_.channels);
    // The gate scales the map, or the weights that the map meets next: whichever has fewer numbers. A map
    // that somebody else wants to see before its gate stays as it is.
    if (se->first || (inner < 0 && maps_.pixels() < project.op.n)) {
      kernels_of<T>(plan).scale(maps, gate, maps_.channels, maps_.pixels(), se->first ? act : Act::none);
      return project_maps(plan, project.op, maps);
    }
    project_scaled(plan, maps, gate, squeezed + round_up(se->reduce.op.n, 16));
  }
  void weights(std::vector<Span>& spans) const override {
    if (expand.op.k) spans.push_back(expand.span());
    if (se) spans.push_back(se->reduce.span()), spans.push_back(se->expand.span());
    spans.push_back(project.span());
  }
  std::string name() const override { return named<T>(stem ? "stem + block" : "block"); }

 private:
  long map_floats() const { return round_up(floats_for<T>(maps_.size()), 16); }
  long vector_floats() const { return round_up(maps_.channels, 16); }
  long strip_floats() const { return round_up(floats_for<T>(strip_ * maps_.width * maps_.channels), 16); }

  void check(const Plan& plan) const {
    const long channels = depthwise.op.channels;
    require(in_.element == sizeof(T), "a block takes a map of another type");
    require(channels % 8 == 0, "a block has a multiple of 8 channels");
    require(expand.op.k ? round_up(expand.op.k, 8) == in_.channels && expand.op.n == channels : in_.channels == channels,
            "a block's expansion does not fit its input or its depthwise convolution");
    require(project.op.k == channels, "a block's projection does not fit its depthwise convolution");
    require(!stem || (!expand.op.k && channels <= kernels_of<T>(plan).panel),
            "a stem goes into a block without expansion, of one panel of channels");
    require(!residual || (depthwise.op.stride == 1 && project.op.n == in_.channels), "a residual has two shapes");
    require(!se || (se->reduce.op.k == channels && round_up(se->expand.op.k, 8) == se->reduce.op.n &&
                    se->expand.op.n == channels),
            "a squeeze-and-excitation does not fit its block");
  }

  BlockRowsOf<T> rows(Plan& plan, long panel, T* out, float* work) const {
    BlockRowsOf<T> op{expand.op,
                      depthwise.op,
                      act,
                      se && se->first ? Act::none : act,
                      g_,
                      panel * panel_,
                      stem ? nullptr : plan.map<T>(inputs[0]),
                      in_.channels,
                      out,
                      maps_.channels,
                      nullptr,
                      work,
                      0,
                      0};
    if (stem) op.stem = &stem->op(), op.picture = &plan.picture, op.stem_act = stem->act(), op.stem_geometry = stem->sizes();
    if (stem && residual) op.rows_out = plan.map<T>(output);
    op.far = !streamed_ && maps_.size() * static_cast<long>(sizeof(T)) > 1 << 20;
    return op;
  }

  // What the projection is added to. A stem in here leaves its rows where the sum will be.
  const T* residual_map(Plan& plan) const { return residual ? plan.map<T>(stem ? output : inputs[0]) : nullptr; }

  void project_maps(Plan& plan, const PointwiseOf<T>& op, const T* maps) const {
    pointwise_parallel(plan, op, Act::none, maps, maps_.channels, plan.map<T>(output), residual_map(plan), maps_.pixels());
  }

  // The projection by weights that the gate has scaled.
  void project_scaled(Plan& plan, const T* maps, const float* gate, float* room) const {
    const long n = project.op.n, channels = maps_.channels, panel = panel_;
    T* const scaled = reinterpret_cast<T*>(room);
    plan.pool->parallel((n + panel - 1) / panel, [&](long task, int) {
      const long first = task * panel, width = std::min(panel, n - first);
      kernels_of<T>(plan).scale_panel(scaled + first * channels, project.op.weights + first * channels, gate, channels, width);
    }, n * channels);
    project_maps(plan, {scaled, project.op.bias, channels, n}, maps);
  }

  // Each thread takes its band of rows from the input to the projection, a few at a time: the map is never stored.
  void run_streamed(Plan& plan) {
    const long channels = maps_.channels, panel = panel_, n = project.op.n;
    const long each = (maps_.height + bands_ - 1) / bands_;
    plan.pool->parallel(bands_, [&](long band, int thread) {
      BlockState* states = states_.data() + band * panels_;
      std::fill_n(states, panels_, BlockState{});
      float* work = plan.work(thread);
      T* maps = reinterpret_cast<T*>(work + panels_ * buffer_);
      const long end = std::min((band + 1) * each, maps_.height);
      for (long y = band * each; y < end; y += strip_) {
        const long count = std::min(strip_, end - y), from = y * maps_.width;
        for (long i = 0; i < panels_; i++) {
          BlockRowsOf<T> op = rows(plan, i, maps + i * panel, work + i * buffer_);
          op.stem_work = work + panels_ * buffer_ + strip_floats();
          op.from = y, op.to = y + count;
          op.rows_from = band * each, op.rows_to = end;
          kernels_of<T>(plan).block_rows(op, states[i]);
        }
        for (long first = 0; first < n; first += panel)
          kernels_of<T>(plan).pointwise(project.op, Act::none, first, maps, channels, plan.map<T>(output) + from * n, n,
                                        residual ? residual_map(plan) + from * n : nullptr, count * maps_.width);
      }
    });
  }

  Shape in_, maps_;
  Geometry g_{};
  bool streamed_ = false;
  long panel_ = 0, panels_ = 0, buffer_ = 0, strip_ = 0, bands_ = 1;
  std::vector<BlockState> states_;  // of the panels of each band
};

}  // namespace hswish
