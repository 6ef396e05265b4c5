// The widest map and all that looks at it: the last 1x1 convolution of the backbone, the first of a head, and the mean.
//
//   x [pixels, in] --1x1, NL--> a few pixels, in cache --1x1, NL--> out [pixels, n]
//                                                      '--> sums per channel, mean
//
// Of LR-ASPP's 960 channels at 1/16 of a street scene nothing is stored but 128 and their mean.
#pragma once

#include "steps.h"

namespace hswish {

template <class T>
class DeepStep : public Step {
 public:
  PackedPointwiseOf<T> wide, narrow;
  Act wide_act = Act::none, narrow_act = Act::none;
  std::unique_ptr<Step> copy() const override { return std::make_unique<DeepStep>(*this); }

  Shape plan(const Plan& plan) override {
    in_ = plan.tensor(inputs[0]).shape;
    require(in_.element == sizeof(T) && round_up(wide.op.k, 8) == in_.channels && in_.pixels() >= 1,
            "the last convolution does not fit its input");
    require(round_up(narrow.op.k, 8) == wide.op.n, "a head's first convolution does not fit the map it looks at");
    // Parts of nearly one size, of 512 KB at most, one or more for every thread.
    const long fits = std::max(1L, 128 * 1024 / floats_for<T>(wide.op.n)), least = (in_.pixels() + fits - 1) / fits;
    const long parts = by_pixels(plan, in_.pixels()) ? round_up(least, plan.pool->count()) : least;
    each_ = (in_.pixels() + parts - 1) / parts;
    parts_ = (in_.pixels() + each_ - 1) / each_;
    return {in_.height, in_.width, narrow.op.n, sizeof(T)};
  }
  Shape kept() const override { return {1, 1, wide.op.n}; }
  long work(const Plan&) const override { return floats_for<T>(each_ * wide.op.n); }
  long scratch(const Plan&) const override { return parts_ * wide.op.n; }  // the mean of each part

  void run(Plan& plan) override {
    const long channels = wide.op.n, panel = kernels_of<T>(plan).panel;
    float *const means = plan.scratch(), *const mean = plan.data(inner);
    plan.pool->parallel(parts_, [&](long part, int thread) {
      const long from = part * each_, count = std::min(each_, in_.pixels() - from);
      T* const map = reinterpret_cast<T*>(plan.work(thread));
      const T* const none = nullptr;
      for (long first = 0; first < channels; first += panel)
        run_pointwise(plan, wide.op, wide_act, first, plan.map<T>(inputs[0]) + from * in_.channels, in_.channels, map, channels,
                      none, count);
      kernels_of<T>(plan).mean(map, channels, 1, count, 0, means + part * channels);
      for (long first = 0; first < narrow.op.n; first += panel)
        run_pointwise(plan, narrow.op, narrow_act, first, map, channels, plan.map<T>(output) + from * narrow.op.n, narrow.op.n,
                      none, count);
    });
    std::fill_n(mean, channels, 0.0f);
    for (long part = 0; part < parts_; part++) {
      const float share = static_cast<float>(std::min(each_, in_.pixels() - part * each_)) / static_cast<float>(in_.pixels());
      for (long c = 0; c < channels; c++) mean[c] += share * means[part * channels + c];
    }
  }
  void weights(std::vector<Span>& spans) const override { spans.push_back(wide.span()), spans.push_back(narrow.span()); }
  std::string name() const override { return named<T>("pointwise + mean + pointwise"); }

 private:
  Shape in_;
  long parts_ = 1, each_ = 1;
};

}  // namespace hswish
