// The steps that MobileNetV3 is made of.
#pragma once

#include <cmath>
#include <numeric>

#include "plan.h"

namespace hswish {

inline Geometry geometry(const Shape& in, long kernel, long stride, long dilation, bool same) {
  const long oh = (in.height + stride - 1) / stride, ow = (in.width + stride - 1) / stride;
  const long reach = (kernel - 1) * dilation;
  const auto before = [&](long size, long out) {  // zeros above or to the left
    return same ? std::max((out - 1) * stride + reach + 1 - size, 0L) / 2 : reach / 2;
  };
  return {in.height, in.width, oh, ow, before(in.height, oh), before(in.width, ow)};
}

// A 1x1 convolution shared out among the threads: by rows of pixels where there are many, else by panels.
inline void pointwise_parallel(Plan& plan, const Pointwise& op, Act act, const float* x, long x_stride, float* out,
                               const float* residual, long pixels, long out_stride = 0) {
  if (!out_stride) out_stride = op.n;
  const long panels = (op.n + plan.kernels.panel - 1) / plan.kernels.panel;
  const long threads = plan.threads.count();
  // Pixels in parts that stay in the second-level cache while every panel of weights passes by.
  const long cache = (pixels * op.k + 65535) / 65536;
  const long parts = std::max(threads == 1 ? 1 : std::clamp(pixels / 28, 1L, threads * 2), cache);
  const long each = (pixels + parts - 1) / parts;
  plan.threads.parallel(panels * parts, [&](long task, int) {
    const long first = task % panels * plan.kernels.panel, from = task / panels * each;
    const long count = std::min(each, pixels - from);
    if (count > 0)
      plan.kernels.pointwise(op, act, first, x + from * x_stride, x_stride, out + from * out_stride, out_stride,
                             residual ? residual + from * out_stride : nullptr, count);
  });
}

class StemStep : public Step {
 public:
  StemStep(const float* w, const float* b, long n, long in_channels, long stride, Act act, bool same)
      : act_(act), same_(same), weights_(in_channels * 9 * round_up(n, 8)), bias_(round_up(n, 8)) {
    const long padded = round_up(n, 8);
    for (long c = 0; c < n; c++)
      for (long i = 0; i < in_channels * 9; i++) weights_.get()[i * padded + c] = w[c * in_channels * 9 + i];
    std::copy_n(b, n, bias_.get());
    op_ = {weights_.get(), bias_.get(), in_channels, padded, stride};
  }
  Shape plan(const Plan& plan) override {
    g_ = geometry({plan.height, plan.width, 0}, 3, op_.stride, 1, same_);
    return {g_.out_height, g_.out_width, op_.n};
  }
  long work(const Plan& plan) const override { return plan.kernels.stem_work(op_, g_); }
  void run(Plan& plan) const override {
    float* out = plan.data(output);
    plan.threads.parallel(g_.out_height, [&](long row, int thread) {
      plan.kernels.stem_row(op_, act_, g_, plan.picture, row, out + row * g_.out_width * op_.n, plan.work(thread));
    });
  }
  std::string name() const override { return "stem"; }
  const Stem& op() const { return op_; }
  Act act() const { return act_; }
  const Geometry& sizes() const { return g_; }

 private:
  Act act_;
  bool same_;
  Buffer weights_, bias_;
  Stem op_;
  Geometry g_{};
};

struct SqueezeExcite {
  PackedPointwise reduce, expand;
  Act act = Act::relu;
};

// An inverted residual (Figure 4): expand and depthwise in one pass, squeeze-and-excitation, projection.
class BlockStep : public Step {
 public:
  PackedPointwise expand, project;
  PackedDepthwise depthwise;
  std::unique_ptr<SqueezeExcite> se;
  std::unique_ptr<StemStep> stem;  // makes the rows of a block without expansion
  Act act = Act::relu;
  bool residual = false, same = false;

  Shape plan(const Plan& plan) override {
    in_ = stem ? stem->plan(plan) : plan.tensor(inputs[0]).shape;
    g_ = geometry(in_, depthwise.op.kernel, depthwise.op.stride, depthwise.op.dilation, same);
    panels_ = (depthwise.op.channels + plan.kernels.panel - 1) / plan.kernels.panel;
    buffer_ = round_up(plan.kernels.block_work(depthwise.op, g_), 16);
    const long row = g_.out_width * depthwise.op.channels;
    // Without squeeze-and-excitation a few rows can be projected at once, and the map need not be stored.
    banded_ = !se && !(residual && stem) && row * g_.out_height > 64 * 1024;
    strip_ = std::clamp(48 * 1024 / row, 1L, g_.out_height);
    return {g_.out_height, g_.out_width, project.op.n};
  }
  long work(const Plan& plan) const override {
    const long rows = banded_ ? panels_ * buffer_ + strip_ * g_.out_width * depthwise.op.channels : buffer_;
    return std::max(rows, plan.kernels.panel * project.op.k) + (stem ? stem->work(plan) : 0);
  }
  long scratch(const Plan&) const override {  // the depthwise output, its sums, the squeeze, the gate
    if (banded_) return 0;
    return g_.out_height * g_.out_width * depthwise.op.channels + 4 * round_up(depthwise.op.channels, 16) + 64;
  }
  void run(Plan& plan) const override {
    if (banded_) return run_bands(plan);
    const long channels = depthwise.op.channels, pixels = g_.out_height * g_.out_width, panel = plan.kernels.panel;
    float* maps = plan.scratch();
    float* gate = maps + pixels * channels;
    float* sums = gate + round_up(channels, 16);
    float* squeezed = sums + round_up(channels, 16);
    plan.threads.parallel(panels_, [&](long task, int thread) {
      BlockState state;
      BlockRows op = rows(plan, task, maps + task * panel, plan.work(thread));
      if (se) op.sums = sums;
      op.stem_work = plan.work(thread) + buffer_;
      op.to = g_.out_height;
      plan.kernels.block_rows(op, state);
    });
    float* out = plan.data(output);
    const float* added = residual ? plan.data(inputs[0]) : nullptr;
    if (!se) return pointwise_parallel(plan, project.op, Act::none, maps, channels, out, added, pixels);

    for (long c = 0; c < channels; c++) sums[c] /= pixels;
    pointwise_parallel(plan, se->reduce.op, se->act, sums, 0, squeezed, nullptr, 1);
    pointwise_parallel(plan, se->expand.op, Act::none, squeezed, 0, gate, nullptr, 1);
    plan.kernels.h_sigmoid(gate, channels);
    if (pixels < project.op.n) {  // fewer numbers to scale than in the weights
      plan.kernels.scale(maps, gate, channels, pixels);
      return pointwise_parallel(plan, project.op, Act::none, maps, channels, out, added, pixels);
    }
    const long n = project.op.n, panels = (n + panel - 1) / panel, threads = plan.threads.count();
    const long cache = (pixels * channels + 65535) / 65536;
    const long parts = std::max(threads == 1 ? 1 : std::max(1L, 2 * threads / panels), cache), each = (pixels + parts - 1) / parts;
    plan.threads.parallel(panels * parts, [&](long task, int thread) {
      const long first = task % panels * panel, from = task / panels * each;
      const long width = std::min(panel, n - first), count = std::min(each, pixels - from);
      float* scaled = plan.work(thread);
      plan.kernels.scale_panel(scaled, project.op.weights + first * channels, gate, channels, width);
      Pointwise op{scaled, project.op.bias + first, channels, width};
      if (count > 0)
        plan.kernels.pointwise(op, Act::none, 0, maps + from * channels, channels, out + first + from * n, n,
                               added ? added + first + from * n : nullptr, count);
    });
  }
  std::string name() const override { return stem ? "stem + block" : "block"; }

 private:
  BlockRows rows(Plan& plan, long panel, float* out, float* work) const {
    BlockRows op{expand.op, depthwise.op, act,  g_,   panel * plan.kernels.panel, stem ? plan.picture : plan.data(inputs[0]),
                 in_.channels, out, depthwise.op.channels, nullptr, work, 0, 0};
    if (stem) op.stem = &stem->op(), op.stem_act = stem->act(), op.stem_geometry = stem->sizes();
    return op;
  }

  // Each thread takes a band of rows from the input to the projection.
  void run_bands(Plan& plan) const {
    const long channels = depthwise.op.channels, panel = plan.kernels.panel, n = project.op.n;
    const long bands = plan.threads.count(), each = (g_.out_height + bands - 1) / bands;
    plan.threads.parallel(bands, [&](long band, int thread) {
      std::vector<BlockState> states(panels_);
      float* work = plan.work(thread);
      float* maps = work + panels_ * buffer_;
      const long end = std::min((band + 1) * each, g_.out_height);
      for (long y = band * each; y < end; y += strip_) {
        const long count = std::min(strip_, end - y), from = y * g_.out_width;
        for (long i = 0; i < panels_; i++) {
          BlockRows op = rows(plan, i, maps + i * panel, work + i * buffer_);
          op.stem_work = maps + strip_ * g_.out_width * channels;
          op.from = y, op.to = y + count;
          plan.kernels.block_rows(op, states[i]);
        }
        for (long first = 0; first < n; first += panel)
          plan.kernels.pointwise(project.op, Act::none, first, maps, channels, plan.data(output) + from * n, n,
                                 residual ? plan.data(inputs[0]) + from * n : nullptr, count * g_.out_width);
      }
    });
  }

  Shape in_;
  Geometry g_{};
  bool banded_ = false;
  long panels_ = 0, buffer_ = 0, strip_ = 0;
};

class PointwiseStep : public Step {
 public:
  PackedPointwise weights;
  Act act = Act::none;
  Shape plan(const Plan& plan) override {
    in_ = plan.tensor(inputs[0]).shape;
    return {in_.height, in_.width, weights.op.n};
  }
  void run(Plan& plan) const override {
    pointwise_parallel(plan, weights.op, act, plan.data(inputs[0]), in_.channels, plan.data(output), nullptr, in_.pixels());
  }
  std::string name() const override { return "pointwise"; }

 private:
  Shape in_;
};

// Ends a classifier: the last map's numbers, as many as there are classes.
class AnswerStep : public Step {
 public:
  explicit AnswerStep(long used) : used_(used) {}
  Shape plan(const Plan&) override { return {0, 0, 0}; }
  void run(Plan& plan) const override { std::copy_n(plan.data(inputs[0]), used_, static_cast<float*>(plan.answer)); }
  std::string name() const override { return "answer"; }

 private:
  long used_;
};

// features * sigmoid(gate), in place; the gate is one pixel.
class GateStep : public Step {
 public:
  bool hard = false;
  Shape plan(const Plan& plan) override {
    in_ = plan.tensor(inputs[0]).shape;
    return in_;
  }
  void run(Plan& plan) const override {
    float* gate = plan.data(inputs[1]);
    for (long c = 0; c < in_.channels; c++) gate[c] = 1.0f / (1.0f + std::exp(-gate[c]));
    std::memcpy(plan.data(output), plan.data(inputs[0]), sizeof(float) * in_.size());
    plan.kernels.scale(plan.data(output), gate, in_.channels, in_.pixels());
  }
  std::string name() const override { return "gate"; }

 private:
  Shape in_;
};

// Positions of a bilinear resize from `size` cells to `count`.
class Resize {
 public:
  Resize() = default;
  Resize(long size, long count, bool align_corners) : first_(count), second_(count), weight_(count) {
    for (long i = 0; i < count; i++) {
      const double at = align_corners ? (count > 1 ? i * double(size - 1) / (count - 1) : 0.0)
                                      : std::max(0.0, (i + 0.5) * double(size) / count - 0.5);
      first_[i] = static_cast<int>(std::min<double>(at, size - 1));
      second_[i] = std::min<int>(first_[i] + 1, size - 1);
      weight_[i] = static_cast<float>(at - first_[i]);
    }
    long run = count;  // the longest run that divides all
    for (long start = 0, i = 1; i <= count; i++)
      if (i == count || first_[i] != first_[start] || second_[i] != second_[start]) run = std::gcd(run, i - start), start = i;
    axis_ = {first_.data(), second_.data(), weight_.data(), count, run % 4 ? 0 : run};
  }
  const Axis& axis() const { return axis_; }

 private:
  std::vector<int> first_, second_;
  std::vector<float> weight_;
  Axis axis_;
};

// low + resized high, both class scores (Figure 10's join; the projection of the deep branch is done
// before its resize, for both are linear and the deep map is four times smaller).
class JoinStep : public Step {
 public:
  bool align_corners = false;
  Shape plan(const Plan& plan) override {
    high_ = plan.tensor(inputs[0]).shape, low_ = plan.tensor(inputs[1]).shape;
    down_ = Resize(high_.height, low_.height, align_corners), across_ = Resize(high_.width, low_.width, align_corners);
    return low_;
  }
  void run(Plan& plan) const override {
    const float *high = plan.data(inputs[0]), *low = plan.data(inputs[1]);
    const long size = low_.width * low_.channels;
    plan.threads.parallel(low_.height, [&](long row, int) {
      float* out = plan.data(output) + row * size;
      std::memcpy(out, low + row * size, sizeof(float) * size);
      plan.kernels.upsample_add_row(down_.axis(), across_.axis(), row, high, high_.width, high_.channels, out);
    });
  }
  std::string name() const override { return "join"; }

 private:
  Shape high_, low_;
  Resize down_, across_;
};

// Scores at the picture's own size: planes of logits, or the mask of the highest.
class ScoresStep : public Step {
 public:
  ScoresStep(long used, bool mask) : used_(used), mask_(mask) {}
  bool align_corners = false;
  Shape plan(const Plan& plan) override {
    in_ = plan.tensor(inputs[0]).shape;
    down_ = Resize(in_.height, plan.height, align_corners), across_ = Resize(in_.width, plan.width, align_corners);
    return {0, 0, 0};
  }
  long work(const Plan& plan) const override { return used_ * in_.width + 2 * round_up(plan.width, 16) + 16; }
  void run(Plan& plan) const override {
    const float* x = plan.data(inputs[0]);
    plan.threads.parallel(plan.height, [&](long row, int thread) {
      if (mask_)
        plan.kernels.upsample_mask_row(down_.axis(), across_.axis(), row, x, in_.width, in_.channels, used_,
                                       static_cast<uint8_t*>(plan.answer) + row * plan.width, plan.work(thread));
      else
        plan.kernels.upsample_planes_row(down_.axis(), across_.axis(), row, x, in_.width, in_.channels, used_,
                                         static_cast<float*>(plan.answer), plan.work(thread));
    });
  }
  std::string name() const override { return "scores"; }

 private:
  long used_;
  bool mask_;
  Shape in_;
  Resize down_, across_;
};

class MeanStep : public Step {
 public:
  Shape plan(const Plan& plan) override {
    in_ = plan.tensor(inputs[0]).shape;
    return {1, 1, in_.channels};
  }
  void run(Plan& plan) const override {
    plan.kernels.mean(plan.data(inputs[0]), in_.channels, in_.pixels(), plan.data(output));
  }
  std::string name() const override { return "mean"; }

 private:
  Shape in_;
};

}  // namespace hswish
