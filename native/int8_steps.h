// The steps of an 8-bit plan; the floats that its heads end in go through the steps of steps.h.
//
// Maps of bytes lie in the same arena: Plan::bytes() of a tensor whose Shape says `element = 1`.
#pragma once

#include "int8_pack.h"
#include "steps.h"

namespace hswish {

// A mean over pixels of a map of bytes: float(sum - pixels * from) * float(scale / pixels), or the byte for that.
struct MeanInt8 {
  float scale = 1;  // of the map
  int from = 0;     // its zero
  float inverse = 1;  // of the mean's scale
  int zero = 0;       // of the mean

  void floats(const int32_t* sums, long channels, long pixels, float* out) const {
    const float factor = static_cast<float>(static_cast<double>(scale) / pixels);
    for (long c = 0; c < channels; c++) out[c] = static_cast<float>(sums[c] - static_cast<int32_t>(pixels) * from) * factor;
  }
  void bytes(const Int8Kernels& kernels, const int32_t* sums, long channels, long pixels, float* work, uint8_t* out) const {
    floats(sums, channels, pixels, work);
    kernels.to_bytes(work, inverse, zero, channels, out);
  }
};

// Numbers of a gate between 0 and 1 as the codes that stand for them, still floats.
struct GateCodes {
  float inverse = 0;  // of the gate's scale; 0 where the gate stays in floats
  int zero = 0;

  void run(float* gate, long n) const {
    if (inverse == 0) return;
    for (long i = 0; i < n; i++) {
      const float code = std::nearbyintf(gate[i] * inverse) + static_cast<float>(zero);
      gate[i] = std::clamp(code, 0.0f, 255.0f) - static_cast<float>(zero);
    }
  }
};

// Pixels in parts that stay in the first caches while every panel of weights passes by, and that occupy every thread.
inline long part_of(long pixels, long channels, long threads) {
  const long fits = std::max(1L, 48 * 1024 / channels);
  return std::min(fits, (pixels + threads - 1) / threads);
}

// A 1x1 convolution of bytes, to bytes or (where `floats` is given) to what they stand for.
inline void pointwise_int8(Plan& plan, const PointwiseInt8& op, Act act, const uint8_t* x, long x_stride, uint8_t* out,
                           float* floats, long pixels) {
  const long panels = (op.n + INT8_PANEL - 1) / INT8_PANEL, threads = plan.pool->count();
  const long each = pixels < 2 * threads ? pixels : part_of(pixels, x_stride, threads);
  plan.pool->parallel(panels * ((pixels + each - 1) / each), [&](long task, int) {
    const long first = task % panels * INT8_PANEL, from = task / panels * each, count = std::min(each, pixels - from);
    if (floats)
      plan.int8.pointwise_floats(op, act, first, x + from * x_stride, x_stride, floats + from * op.n, op.n, count);
    else
      plan.int8.pointwise_bytes(op, act, first, x + from * x_stride, x_stride, out + from * op.n, op.n, nullptr, 0, count);
  });
}

// The picture's bytes, or its floats as bytes, are brought to the network's own and go through a 3x3 convolution.
class StemInt8Step : public Step {
 public:
  PackedStemInt8 weights;
  Act act = Act::hard_swish;
  float input_inverse = 1;
  int input_zero = 0;
  bool same = false;
  std::unique_ptr<Step> copy() const override { return std::make_unique<StemInt8Step>(*this); }
  Shape plan(const Plan& plan) override {
    const StemInt8& op = weights.op;
    require(plan.planes == op.planes, "the stem and the picture differ in channels");
    g_ = geometry({plan.height, plan.width, 0}, 3, op.stride, 1, same);
    row_ = round_up(std::max((g_.out_width - 1) * op.stride + 3, g_.left + g_.width) * op.planes + 16, 16);
    return {g_.out_height, g_.out_width, op.n, 1};
  }
  long work(const Plan&) const override { return (rows() * row_ + weights.op.planes * line() + 3) / 4; }
  long scratch(const Plan&) const override { return weights.op.planes * 256 / 4; }
  void run(Plan& plan) override {
    const StemInt8& op = weights.op;
    uint8_t* codes = reinterpret_cast<uint8_t*>(plan.scratch());  // of each byte of a picture
    if (plan.picture.table) plan.int8.to_bytes(plan.picture.table, input_inverse, input_zero, op.planes * 256, codes);
    uint8_t* out = plan.bytes(output);
    plan.pool->parallel((g_.out_height + BAND - 1) / BAND, [&](long band, int thread) {
      uint8_t* work = reinterpret_cast<uint8_t*>(plan.work(thread));
      const long first = band * BAND, end = std::min(first + BAND, g_.out_height);
      const long top = first * op.stride - g_.top;
      std::memset(work, input_zero, rows() * row_);
      for (long i = 0; i < rows(); i++)
        if (top + i >= 0 && top + i < g_.height) fill(plan, codes, top + i, work + i * row_ + g_.left * op.planes, work + rows() * row_);
      for (long y = first; y < end; y++) {
        const uint8_t* at = work + (y - first) * op.stride * row_;
        const uint8_t* three[3] = {at, at + row_, at + 2 * row_};
        plan.int8.int8_stem_row(op, act, three, g_.out_width, out + y * g_.out_width * op.n);
      }
    });
  }
  std::string name() const override { return "int8 stem"; }

 private:
  static constexpr long BAND = 8;  // rows of output that share the rows of the picture
  long rows() const { return (BAND - 1) * weights.op.stride + 3; }
  long line() const { return g_.width / LANE * LANE + LANE; }
  // A row of the picture as the network's bytes; `lines` holds its channels, one after another.
  void fill(const Plan& plan, const uint8_t* codes, long y, uint8_t* to, uint8_t* lines) const {
    const long planes = weights.op.planes, whole = g_.width / LANE * LANE;
    if (plan.picture.bytes) return plan.int8.look_up(plan.picture.bytes + y * g_.width * planes, codes, planes, g_.width, to);
    for (long c = 0; c < planes; c++) {
      const float* from = plan.picture.floats + (c * g_.height + y) * g_.width;
      float rest[LANE] = {};
      std::copy(from + whole, from + g_.width, rest);
      plan.int8.to_bytes(from, input_inverse, input_zero, whole, lines + c * line());
      plan.int8.to_bytes(rest, input_inverse, input_zero, LANE, lines + c * line() + whole);
    }
    long i = 0;
    if (planes == 3)  // a pixel is one store of four bytes, of which the next pixel has the last
      for (; i + 1 < g_.width; i++) {
        const uint32_t pixel = lines[i] | lines[line() + i] << 8 | lines[2 * line() + i] << 16;
        std::memcpy(to + i * 3, &pixel, 4);
      }
    for (; i < g_.width; i++)
      for (long c = 0; c < planes; c++) to[i * planes + c] = lines[c * line() + i];
  }
  Geometry g_{};
  long row_ = 0;
};

class PointwiseInt8Step : public Step {
 public:
  PackedPointwiseInt8 weights;
  Act act = Act::none;
  bool floats = false;
  std::unique_ptr<Step> copy() const override { return std::make_unique<PointwiseInt8Step>(*this); }
  Shape plan(const Plan& plan) override {
    in_ = plan.tensor(inputs[0]).shape;
    require(in_.element == 1 && round_up(weights.k, LANE) == in_.channels, "a pointwise convolution does not fit its input");
    return {in_.height, in_.width, weights.op.n, floats ? 4 : 1};
  }
  void run(Plan& plan) override {
    pointwise_int8(plan, weights.op, act, plan.bytes(inputs[0]), in_.channels, plan.bytes(output),
                   floats ? plan.data(output) : nullptr, in_.pixels());
  }
  std::string name() const override { return "int8 pointwise"; }

 private:
  Shape in_;
};

// Average pooling by a window that never exceeds the map, VALID; window 0: the whole map.
class MeanInt8Step : public Step {
 public:
  MeanInt8 mean;
  bool floats = false;  // gives what the bytes would stand for
  long window = 0, stride_down = 1, stride_across = 1;
  std::unique_ptr<Step> copy() const override { return std::make_unique<MeanInt8Step>(*this); }
  Shape plan(const Plan& plan) override {
    in_ = plan.tensor(inputs[0]).shape;
    require(in_.element == 1 && in_.pixels() >= 1, "a mean of bytes over no map of bytes");
    rows_ = window ? std::min(window, in_.height) : in_.height;
    columns_ = window ? std::min(window, in_.width) : in_.width;
    require(rows_ * columns_ < (1L << 22), "a mean of bytes over more pixels than its sum can hold");
    return {(in_.height - rows_) / stride_down + 1, (in_.width - columns_) / stride_across + 1, in_.channels, floats ? 4 : 1};
  }
  long scratch(const Plan&) const override { return 2 * in_.channels; }
  void run(Plan& plan) override {
    const Shape out = plan.tensor(output).shape;
    const long row = in_.width * in_.channels;
    float* work = plan.scratch();
    int32_t* sums = reinterpret_cast<int32_t*>(work + in_.channels);
    for (long i = 0; i < out.pixels(); i++) {
      const uint8_t* x = plan.bytes(inputs[0]) + i / out.width * stride_down * row + i % out.width * stride_across * in_.channels;
      std::fill_n(sums, in_.channels, 0);
      if (columns_ == in_.width)
        plan.int8.sum_bytes(x, in_.channels, rows_ * columns_, sums);
      else
        for (long y = 0; y < rows_; y++) plan.int8.sum_bytes(x + y * row, in_.channels, columns_, sums);
      if (floats)
        mean.floats(sums, in_.channels, rows_ * columns_, plan.data(output) + i * in_.channels);
      else
        mean.bytes(plan.int8, sums, in_.channels, rows_ * columns_, work, plan.bytes(output) + i * in_.channels);
    }
  }
  std::string name() const override { return "int8 mean"; }

 private:
  Shape in_;
  long rows_ = 0, columns_ = 0;
};

// A map of floats as bytes: where branches met in floats, or a layer stayed in float32, and the next takes bytes.
class ToBytesStep : public Step {
 public:
  float inverse = 1;
  int zero = 0;
  std::unique_ptr<Step> copy() const override { return std::make_unique<ToBytesStep>(*this); }
  Shape plan(const Plan& plan) override {
    in_ = plan.tensor(inputs[0]).shape;
    require(in_.element == 4, "only a map of floats becomes bytes");
    return {in_.height, in_.width, round_up(in_.channels, LANE), 1};
  }
  long work(const Plan&) const override { return round_up(in_.channels, LANE); }
  void run(Plan& plan) override {
    const long channels = in_.channels, padded = round_up(channels, LANE), row = in_.width * channels;
    plan.pool->parallel(in_.height, [&](long y, int thread) {
      const float* x = plan.data(inputs[0]) + y * row;
      uint8_t* out = plan.bytes(output) + y * in_.width * padded;
      if (channels == padded) return plan.int8.to_bytes(x, inverse, zero, row, out);
      float* pixel = plan.work(thread);
      std::fill_n(pixel, padded, 0.0f);
      for (long i = 0; i < in_.width; i++) {
        std::copy_n(x + i * channels, channels, pixel);
        plan.int8.to_bytes(pixel, inverse, zero, padded, out + i * padded);
      }
    });
  }
  std::string name() const override { return "to bytes"; }

 private:
  Shape in_;
};

// The first `channels` of a map of bytes as floats: where a layer stayed in float32.
class ToFloatsStep : public Step {
 public:
  float scale = 1;
  int zero = 0;
  long channels = 0;
  std::unique_ptr<Step> copy() const override { return std::make_unique<ToFloatsStep>(*this); }
  Shape plan(const Plan& plan) override {
    in_ = plan.tensor(inputs[0]).shape;
    require(in_.element == 1 && round_up(channels, LANE) == in_.channels, "only a map of bytes becomes floats");
    return {in_.height, in_.width, round_up(channels, 8)};
  }
  void run(Plan& plan) override {
    const long kept = round_up(channels, 8);
    plan.pool->parallel(in_.height, [&](long y, int) {
      const uint8_t* x = plan.bytes(inputs[0]) + y * in_.width * in_.channels;
      float* out = plan.data(output) + y * in_.width * kept;
      for (long i = 0; i < in_.width; i++)
        for (long c = 0; c < kept; c++) out[i * kept + c] = static_cast<float>(x[i * in_.channels + c] - zero) * scale;
    });
  }
  std::string name() const override { return "to floats"; }

 private:
  Shape in_;
};

}  // namespace hswish
