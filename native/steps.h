// The steps that MobileNetV3 and its heads are made of, but for the block (block_step.h).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
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

// What to call the steps of a plan, by how they store their maps.
template <class T>
std::string named(const char* kind) {
  return std::is_same_v<T, float> ? kind : std::string("bf16 ") + kind;
}

// Floats of memory that `count` numbers take.
template <class T>
constexpr long floats_for(long count) { return (count + GROUP<T> - 1) / GROUP<T>; }

// The kernel for a 1x1 convolution, by how its input, weights and output are stored.
inline void run_pointwise(const Plan& plan, const Pointwise& op, Act act, long first, const float* x, long x_stride,
                          float* out, long out_stride, const float* residual, long pixels) {
  plan.kernels.pointwise(op, act, first, x, x_stride, out, out_stride, residual, pixels);
}
inline void run_pointwise(const Plan& plan, const PointwiseOf<Bf16>& op, Act act, long first, const Bf16* x, long x_stride,
                          Bf16* out, long out_stride, const Bf16* residual, long pixels) {
  plan.bf16->pointwise(op, act, first, x, x_stride, out, out_stride, residual, pixels);
}
inline void run_pointwise(const Plan& plan, const PointwiseOf<Bf16>& op, Act act, long first, const Bf16* x, long x_stride,
                          float* out, long out_stride, const float*, long pixels) {
  plan.bf16->pointwise_floats(op, act, first, x, x_stride, out, out_stride, pixels);
}
inline void run_pointwise(const Plan& plan, const PointwiseOf<Bf16>& op, Act act, long first, const float* x, long x_stride,
                          float* out, long out_stride, const float*, long pixels) {
  plan.bf16->linear(op, act, first, x, x_stride, out, out_stride, pixels);
}

// Whether there are pixels enough for each thread to take some: a tile or nearly so.
inline bool by_pixels(const Plan& plan, long pixels) {
  return plan.pool->count() > 1 && pixels >= 12 * plan.pool->count();
}

// A 1x1 convolution shared out among the threads: by pixels, which each thread has near from the step before, or by
// panels of channels where there are few.
template <class T, class X, class Y>
void pointwise_parallel(Plan& plan, const PointwiseOf<T>& op, Act act, const X* x, long x_stride, Y* out,
                        const std::common_type_t<Y>* residual, long pixels) {
  const long panel = kernels_of<T>(plan).panel;
  // Pixels in parts that stay in the second-level cache while every panel of weights passes by.
  const long cache = (floats_for<X>(pixels * op.k) + 65535) / 65536;
  const bool shared = by_pixels(plan, pixels);
  const long parts = shared ? round_up(cache, plan.pool->count()) : cache, each = (pixels + parts - 1) / parts;
  const auto compute = [&](long part, long first) {
    const long from = part * each, count = std::min(each, pixels - from);
    if (count > 0)
      run_pointwise(plan, op, act, first, x + from * x_stride, x_stride, out + from * op.n, op.n,
                    residual ? residual + from * op.n : nullptr, count);
  };
  if (shared)
    return plan.pool->parallel(parts, [&](long part, int) {
      for (long first = 0; first < op.n; first += panel) compute(part, first);
    });
  const long panels = (op.n + panel - 1) / panel;
  plan.pool->parallel(panels * parts, [&](long task, int) { compute(task / panels, task % panels * panel); },
                      pixels * op.k * op.n);
}

template <class T>
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
  std::unique_ptr<Step> copy() const override { return std::make_unique<StemStep>(*this); }
  Shape plan(const Plan& plan) override {
    require(plan.planes == op_.in_channels, "the stem and the picture differ in channels");
    g_ = geometry({plan.height, plan.width, 0}, 3, op_.stride, 1, same_);
    return {g_.out_height, g_.out_width, op_.n, sizeof(T)};
  }
  long work(const Plan& plan) const override { return kernels_of<T>(plan).stem_work(op_, g_); }
  void run(Plan& plan) override {
    T* out = plan.map<T>(output);
    plan.pool->parallel(g_.out_height, [&](long row, int thread) {
      kernels_of<T>(plan).stem_row(op_, act_, g_, plan.picture, row, out + row * g_.out_width * op_.n, plan.work(thread));
    });
  }
  std::string name() const override { return named<T>("stem"); }
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

// A map of T gives a map of T, or floats if asked to; floats give floats.
template <class T>
class PointwiseStep : public Step {
 public:
  PackedPointwiseOf<T> packed;
  Act act = Act::none;
  bool floats = false;
  std::unique_ptr<Step> copy() const override { return std::make_unique<PointwiseStep>(*this); }
  Shape plan(const Plan& plan) override {
    in_ = plan.tensor(inputs[0]).shape;
    const long k = packed.op.k;
    require((in_.element == 4 || in_.element == sizeof(T)) &&
                (round_up(k, 8) == in_.channels || round_up(k, 16) == in_.channels),
            "a pointwise convolution does not fit its input");
    return {in_.height, in_.width, packed.op.n, floats ? 4 : in_.element};
  }
  void run(Plan& plan) override {
    const auto from_to = [&](const auto* x, auto* out) {
      pointwise_parallel(plan, packed.op, act, x, in_.channels, out, nullptr, in_.pixels());
    };
    if (in_.element == 4)
      from_to(plan.data(inputs[0]), plan.data(output));
    else if (floats)
      from_to(plan.map<T>(inputs[0]), plan.data(output));
    else
      from_to(plan.map<T>(inputs[0]), plan.map<T>(output));
  }
  void weights(std::vector<Span>& spans) const override { spans.push_back(packed.span()); }
  std::string name() const override { return named<T>("pointwise"); }

 private:
  Shape in_;
};

// Ends a classifier: the last map's numbers, as many as there are classes.
class AnswerStep : public Step {
 public:
  explicit AnswerStep(long used) : used_(used) {}
  std::unique_ptr<Step> copy() const override { return std::make_unique<AnswerStep>(*this); }
  Shape plan(const Plan& plan) override {
    const Shape in = plan.tensor(inputs[0]).shape;
    require(in.element == 4 && used_ >= 1 && used_ <= in.channels && in.channels == in.size(),
            "an answer is some channels of one pixel, in floats");
    return {};
  }
  long answers(bool) const override { return used_; }
  void run(Plan& plan) override { std::copy_n(plan.data(inputs[0]), used_, static_cast<float*>(plan.answer)); }
  std::string name() const override { return "answer"; }

 private:
  long used_;
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
    run_ = run % 4 ? 0 : run;
  }
  Axis axis() const { return {first_.data(), second_.data(), weight_.data(), static_cast<long>(first_.size()), run_}; }

 private:
  std::vector<int> first_, second_;
  std::vector<float> weight_;
  long run_ = 0;
};

// features * sigmoid(gate); a gate of several pixels is resized to the features, corner to corner.
template <class T>
class GateStep : public Step {
 public:
  bool hard = false;
  std::unique_ptr<Step> copy() const override { return std::make_unique<GateStep>(*this); }
  Shape plan(const Plan& plan) override {
    in_ = plan.tensor(inputs[0]).shape, gate_ = plan.tensor(inputs[1]).shape;
    require(in_.element == sizeof(T) && gate_.element == 4 && in_.channels == gate_.channels && gate_.pixels() >= 1,
            "a gate in floats and what it gates differ in channels");
    down_ = Resize(gate_.height, in_.height, true), across_ = Resize(gate_.width, in_.width, true);
    return in_;
  }
  long scratch(const Plan&) const override { return round_up(gate_.size(), 16); }
  void run(Plan& plan) override {
    float* gate = plan.scratch();
    std::copy_n(plan.data(inputs[1]), gate_.size(), gate);
    if (hard)
      plan.kernels.h_sigmoid(gate, gate_.size());
    else
      for (long i = 0; i < gate_.size(); i++) gate[i] = 1.0f / (1.0f + std::exp(-gate[i]));
    const long size = in_.width * in_.channels;
    plan.pool->parallel(in_.height, [&](long row, int) {
      T* out = plan.map<T>(output) + row * size;
      std::memcpy(out, plan.map<T>(inputs[0]) + row * size, sizeof(T) * size);
      if (gate_.pixels() == 1)
        kernels_of<T>(plan).scale(out, gate, in_.channels, in_.width, Act::none);
      else
        kernels_of<T>(plan).upsample_multiply_row(down_.axis(), across_.axis(), row, gate, gate_.width, in_.channels, out);
    });
  }
  std::string name() const override { return named<T>("gate"); }

 private:
  Shape in_, gate_;
  Resize down_, across_;
};

// act(low + resized high), where branches meet (Figure 10). A 1x1 convolution of the resized branch is
// done before its resize: both are linear, and the deep map is four times smaller. A concatenation followed
// by a 1x1 convolution is the sum of two such convolutions, so it ends here too. Floats meet; T: what comes out.
template <class T>
class JoinStep : public Step {
 public:
  bool align_corners = false;
  Act act = Act::none;
  std::unique_ptr<Step> copy() const override { return std::make_unique<JoinStep>(*this); }
  Shape plan(const Plan& plan) override {
    high_ = plan.tensor(inputs[0]).shape, low_ = plan.tensor(inputs[1]).shape;
    require(high_.element == 4 && low_.element == 4 && high_.channels == low_.channels && high_.pixels() >= 1,
            "the maps that are joined are not both in floats, or differ in channels");
    down_ = Resize(high_.height, low_.height, align_corners), across_ = Resize(high_.width, low_.width, align_corners);
    return {low_.height, low_.width, low_.channels, sizeof(T)};
  }
  long work(const Plan&) const override { return in_place ? 0 : low_.width * low_.channels; }
  void run(Plan& plan) override {
    const float *high = plan.data(inputs[0]), *low = plan.data(inputs[1]);
    const long size = low_.width * low_.channels;
    plan.pool->parallel(low_.height, [&](long row, int thread) {
      float* out = in_place ? plan.data(output) + row * size : plan.work(thread);
      std::memcpy(out, low + row * size, sizeof(float) * size);
      plan.kernels.upsample_add_row(down_.axis(), across_.axis(), row, high, high_.width, high_.channels, act, out);
      if constexpr (!in_place) plan.bf16->to_halves(out, size, plan.map<T>(output) + row * size);
    });
  }
  std::string name() const override { return "join"; }

 private:
  static constexpr bool in_place = std::is_same_v<T, float>;
  Shape high_, low_;
  Resize down_, across_;
};

// Floats of `work` of the two kernels that resize scores: a line of each class, and what a vector reads beyond.
inline long scores_work(long used, long width) { return used * width + 32; }

// The first `used` channels of rows [from, to) of a map as planes (used, height, width).
inline void to_planes(const float* x, const Shape& in, long used, long from, long to, float* out) {
  constexpr long LINE = 16;  // pixels whose scores are a line of each plane, and lie together in the map
  for (long first = from * in.width, end = to * in.width; first < end; first += LINE)
    for (long c = 0; c < used; c++)
      for (long p = first; p < std::min(first + LINE, end); p++) out[c * in.pixels() + p] = x[p * in.channels + c];
}

// Scores at the picture's own size: planes of logits, or the mask of the highest.
class ScoresStep : public Step {
 public:
  explicit ScoresStep(long used) : used_(used) {}
  bool align_corners = false;
  std::unique_ptr<Step> copy() const override { return std::make_unique<ScoresStep>(*this); }
  Shape plan(const Plan& plan) override {
    in_ = plan.tensor(inputs[0]).shape;
    require(in_.element == 4 && used_ >= 1 && used_ <= in_.channels, "more classes than the scores have channels");
    down_ = Resize(in_.height, plan.height, align_corners), across_ = Resize(in_.width, plan.width, align_corners);
    pixels_ = plan.height * plan.width;
    return {};
  }
  long scratch(const Plan&) const override { return used_ * in_.pixels(); }
  long work(const Plan& plan) const override { return scores_work(used_, in_.width); }
  long answers(bool mask) const override { return pixels_ * (mask ? 1 : used_); }
  bool can_mask() const override { return used_ <= 256; }
  void run(Plan& plan) override {
    const float* x = plan.data(inputs[0]);
    if (plan.mask)  // which would show nothing of it
      for (long i = 0; i < in_.size() && plan.finite; i++) plan.finite = std::isfinite(x[i]);
    float* planes = plan.scratch();
    plan.pool->parallel(in_.height, [&](long row, int) { to_planes(x, in_, used_, row, row + 1, planes); });
    plan.pool->parallel(plan.height, [&](long row, int thread) {
      if (plan.mask)
        plan.kernels.upsample_mask_row(down_.axis(), across_.axis(), row, planes, in_.height, in_.width, used_,
                                       static_cast<uint8_t*>(plan.answer) + row * plan.width, plan.work(thread));
      else
        plan.kernels.upsample_planes_row(down_.axis(), across_.axis(), row, planes, in_.height, in_.width, used_,
                                         static_cast<float*>(plan.answer), plan.work(thread));
    });
  }
  std::string name() const override { return "scores"; }

 private:
  long used_, pixels_ = 0;
  Shape in_;
  Resize down_, across_;
};

// Average pooling by a window that never exceeds the map, VALID; window 0: the whole map. It gives floats.
template <class T>
class MeanStep : public Step {
 public:
  long window = 0, stride_down = 1, stride_across = 1;
  std::unique_ptr<Step> copy() const override { return std::make_unique<MeanStep>(*this); }
  Shape plan(const Plan& plan) override {
    in_ = plan.tensor(inputs[0]).shape;
    require(in_.element == sizeof(T) && in_.pixels() >= 1, "a mean over no map");
    rows_ = window ? std::min(window, in_.height) : in_.height;
    columns_ = window ? std::min(window, in_.width) : in_.width;
    return {(in_.height - rows_) / stride_down + 1, (in_.width - columns_) / stride_across + 1, in_.channels};
  }
  void run(Plan& plan) override {
    const Shape out = plan.tensor(output).shape;
    const long row = in_.width * in_.channels;
    for (long i = 0; i < out.pixels(); i++) {
      const long y = i / out.width * stride_down, x = i % out.width * stride_across;
      kernels_of<T>(plan).mean(plan.map<T>(inputs[0]) + y * row + x * in_.channels, in_.channels, rows_, columns_, row,
                               plan.data(output) + i * in_.channels);
    }
  }
  std::string name() const override { return named<T>("mean"); }

 private:
  Shape in_;
  long rows_ = 0, columns_ = 0;
};

}  // namespace hswish
