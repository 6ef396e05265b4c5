// The step of one block on bytes: block_step.h with squeeze-and-excitation's gate applied to the map on its way
// into the projection, since a gate cannot scale weights that are bytes.
#pragma once

#include <optional>

#include "int8_steps.h"

namespace hswish {

// Its two layers are on bytes or, as the file says, on floats.
struct SqueezeExciteInt8 {
  MeanInt8 mean;
  PackedPointwiseInt8 reduce, expand;
  PackedPointwise float_reduce, float_expand;
  Act act = Act::relu;
  GateCodes codes;
  Gating gating;
  bool in_floats() const { return float_reduce.op.k > 0; }
};

class BlockInt8Step : public Step {
 public:
  PackedPointwiseInt8 expand, project;
  PackedDepthwiseInt8 depthwise;
  std::optional<SqueezeExciteInt8> se;
  Act act = Act::relu;
  bool residual = false, same = false;
  int padding = 0;  // the byte for zero in what the depthwise convolution reads

  std::unique_ptr<Step> copy() const override { return std::make_unique<BlockInt8Step>(*this); }

  Shape plan(const Plan& plan) override {
    in_ = plan.tensor(inputs[0]).shape;
    check();
    const DepthwiseInt8& dw = depthwise.op;
    g_ = geometry(in_, dw.kernel, dw.stride, dw.dilation, same);
    maps_ = {g_.out_height, g_.out_width, dw.channels, 1};
    require(maps_.pixels() < (1L << 22), "squeeze-and-excitation over more pixels than its sum can hold");
    buffer_ = round_up(plan.int8.int8_block_work(dw, g_), 64);
    part_ = part_of(maps_.pixels(), maps_.channels, plan.pool->count());
    return {maps_.height, maps_.width, project.op.n, 1};
  }
  Shape kept() const override { return maps_; }
  long work(const Plan&) const override { return std::max(buffer_, part_ * maps_.channels) / 4 + 16; }
  long scratch(const Plan&) const override {  // the depthwise map, and what the gate is made of
    const long squeezed = se ? round_up(std::max(se->reduce.op.n, se->float_reduce.op.n), 64) : 0;
    const long vectors = se ? 4 * round_up(maps_.channels, 64) + squeezed + 64 : 0;
    return round_up(maps_.size(), 64) / 4 + vectors;
  }

  void run(Plan& plan) override {
    uint8_t* maps = inner >= 0 ? plan.bytes(inner) : reinterpret_cast<uint8_t*>(plan.scratch());
    float* gate = plan.scratch() + round_up(maps_.size(), 64) / 4;
    int32_t* sums = reinterpret_cast<int32_t*>(gate + round_up(maps_.channels, 64));
    plan.pool->parallel((maps_.channels + INT8_PANEL - 1) / INT8_PANEL, [&](long panel, int thread) {
      long made = -1;
      plan.int8.int8_block_rows(
          {expand.op, depthwise.op, act, act, g_, panel * INT8_PANEL, plan.bytes(inputs[0]), in_.channels, maps,
           maps_.channels, se ? sums : nullptr, reinterpret_cast<uint8_t*>(plan.work(thread)),
           static_cast<uint8_t>(padding), 0, maps_.height},
          made);
    });
    if (se) make_gate(plan, sums, gate);
    project_maps(plan, maps, se ? gate : nullptr);
  }
  std::string name() const override { return "int8 block"; }

 private:
  void check() const {
    const long channels = depthwise.op.channels;
    require(in_.element == 1, "a block of bytes takes a map of bytes");
    require(expand.op.quads ? round_up(expand.k, LANE) == in_.channels && expand.op.n == channels : in_.channels == channels,
            "a block's expansion does not fit its input or its depthwise convolution");
    require(round_up(project.k, LANE) == channels, "a block's projection does not fit its depthwise convolution");
    require(!residual || (depthwise.op.stride == 1 && project.op.n == in_.channels), "a residual has two shapes");
    if (!se) return;
    const bool fits = se->in_floats() ? round_up(se->float_reduce.op.k, LANE) == channels &&
                                            round_up(se->float_expand.op.k, 8) == se->float_reduce.op.n &&
                                            round_up(se->float_expand.op.n, LANE) == channels
                                      : round_up(se->reduce.k, LANE) == channels &&
                                            round_up(se->expand.k, LANE) == se->reduce.op.n && se->expand.op.n == channels;
    require(fits, "a squeeze-and-excitation does not fit its block");
  }

  void make_gate(Plan& plan, const int32_t* sums, float* gate) const {
    float* mean = gate + 2 * round_up(maps_.channels, 64);
    float* squeezed = mean + 2 * round_up(maps_.channels, 64);
    if (se->in_floats()) {
      se->mean.floats(sums, maps_.channels, maps_.pixels(), mean);
      pointwise_parallel(plan, se->float_reduce.op, se->act, mean, 0, squeezed, nullptr, 1);
      pointwise_parallel(plan, se->float_expand.op, Act::none, squeezed, 0, gate, nullptr, 1);
    } else {
      uint8_t* mean_bytes = reinterpret_cast<uint8_t*>(mean + round_up(maps_.channels, 64));
      uint8_t* squeezed_bytes = reinterpret_cast<uint8_t*>(squeezed);
      se->mean.bytes(plan.int8, sums, maps_.channels, maps_.pixels(), mean, mean_bytes);
      pointwise_int8(plan, se->reduce.op, se->act, mean_bytes, 0, squeezed_bytes, nullptr, 1);
      pointwise_int8(plan, se->expand.op, Act::none, squeezed_bytes, 0, nullptr, gate, 1);
    }
    plan.kernels.h_sigmoid(gate, maps_.channels);
    se->codes.run(gate, maps_.channels);
  }

  // Part by part: gated into memory that stays in the cache, then through every panel of weights.
  void project_maps(Plan& plan, const uint8_t* maps, const float* gate) const {
    const long pixels = maps_.pixels(), channels = maps_.channels, n = project.op.n;
    plan.pool->parallel((pixels + part_ - 1) / part_, [&](long part, int thread) {
      const long from = part * part_, count = std::min(part_, pixels - from);
      const uint8_t* x = maps + from * channels;
      if (gate) {
        uint8_t* gated = reinterpret_cast<uint8_t*>(plan.work(thread));
        plan.int8.gate_bytes(x, gate, se->gating, channels, count, gated);
        x = gated;
      }
      for (long first = 0; first < n; first += INT8_PANEL)
        plan.int8.pointwise_bytes(project.op, Act::none, first, x, channels, plan.bytes(output) + from * n, n,
                                  residual ? plan.bytes(inputs[0]) + from * in_.channels : nullptr, in_.channels, count);
    });
  }

  Shape in_, maps_;
  Geometry g_{};
  long buffer_ = 0, part_ = 1;
};

// features * gate, in LR-ASPP: bytes by a gate of floats, one pixel or several (resized corner to corner).
class GateInt8Step : public Step {
 public:
  bool hard = false;
  GateCodes codes;
  Gating gating;
  std::unique_ptr<Step> copy() const override { return std::make_unique<GateInt8Step>(*this); }
  Shape plan(const Plan& plan) override {
    in_ = plan.tensor(inputs[0]).shape, gate_ = plan.tensor(inputs[1]).shape;
    require(in_.element == 1 && gate_.element == 4 && in_.channels == gate_.channels && gate_.pixels() >= 1,
            "a gate and what it gates differ in channels");
    down_ = Resize(gate_.height, in_.height, true), across_ = Resize(gate_.width, in_.width, true);
    return in_;
  }
  long scratch(const Plan&) const override { return round_up(gate_.size(), 16); }
  long work(const Plan&) const override { return gate_.pixels() > 1 ? in_.width * in_.channels : 0; }
  void run(Plan& plan) override {
    float* gate = plan.scratch();
    std::copy_n(plan.data(inputs[1]), gate_.size(), gate);
    if (hard)
      plan.kernels.h_sigmoid(gate, gate_.size());
    else
      for (long i = 0; i < gate_.size(); i++) gate[i] = 1.0f / (1.0f + std::exp(-gate[i]));
    codes.run(gate, gate_.size());
    const long size = in_.width * in_.channels;
    plan.pool->parallel(in_.height, [&](long row, int thread) {
      const uint8_t* x = plan.bytes(inputs[0]) + row * size;
      uint8_t* out = plan.bytes(output) + row * size;
      if (gate_.pixels() == 1) return plan.int8.gate_bytes(x, gate, gating, in_.channels, in_.width, out);
      float* factors = plan.work(thread);
      std::fill_n(factors, size, 1.0f);
      plan.kernels.upsample_multiply_row(down_.axis(), across_.axis(), row, gate, gate_.width, in_.channels, factors);
      for (long p = 0; p < in_.width; p++)
        plan.int8.gate_bytes(x + p * in_.channels, factors + p * in_.channels, gating, in_.channels, 1, out + p * in_.channels);
    });
  }
  std::string name() const override { return "int8 gate"; }

 private:
  Shape in_, gate_;
  Resize down_, across_;
};

}  // namespace hswish
