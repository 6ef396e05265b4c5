// The 8-bit kernels against plain loops, bit for bit; part of selftest.cpp's program.
#include <cmath>
#include <cstdio>
#include <random>

#include "int8_pack.h"
#include "int8_steps.h"

using namespace hswish;

namespace {

std::mt19937 generator(2);
int failures;

long draw(long from, long to) { return std::uniform_int_distribution<long>(from, to)(generator); }

std::vector<uint8_t> drawn_bytes(long count) {
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(draw(0, 255));
  return bytes;
}

struct Layer {
  std::vector<int8_t> weights;
  std::vector<int32_t> bias;
  std::vector<float> scale;
  LayerInt8 given;

  Layer(long n, long taps, Act act) : weights(n * taps), bias(n), scale(n) {
    for (int8_t& w : weights) w = static_cast<int8_t>(draw(-127, 127));
    for (int32_t& b : bias) b = static_cast<int32_t>(draw(-20000, 20000));
    for (float& s : scale) s = draw(50, 200) / (1.6e6f * std::sqrt(static_cast<float>(taps)));
    const int zero = static_cast<int>(draw(0, 255));
    given = {weights.data(), bias.data(), scale.data(), n, taps, static_cast<float>(draw(20, 300)), zero, act == Act::relu ? zero : 0};
  }
  float real(long sum, long n, Act act) const {
    const float y = static_cast<float>(sum) * scale[n];
    if (act == Act::hard_swish) return y * (std::min(std::max(y + 3.0f, 0.0f), 6.0f) * (1.0f / 6.0f));
    return act == Act::relu ? std::max(y, 0.0f) : y;
  }
  int code(long sum, long n, Act act) const {
    return std::clamp(static_cast<int>(std::nearbyint(real(sum, n, act) * given.inverse)) + given.zero, given.low, 255);
  }
};

void check(const Int8Kernels& k, const char* kernel, double found, double wanted) {
  if (found == wanted) return;
  if (failures++ < 20) std::printf("%s %s: %g, not %g\n", k.name, kernel, found, wanted);
}

void test_pointwise(const Int8Kernels& k) {
  const long pixels = draw(1, 30), in = draw(1, 70), n = draw(1, 70), stride = round_up(in, LANE);
  const Act act = static_cast<Act>(draw(0, 2));
  const Layer layer(n, in, act);
  const PackedPointwiseInt8 packed(layer.given, k.products);
  const std::vector<uint8_t> x = drawn_bytes(pixels * stride);
  std::vector<uint8_t> out(pixels * packed.op.n);
  std::vector<float> floats(pixels * packed.op.n);
  for (long first = 0; first < packed.op.n; first += INT8_PANEL) {
    k.pointwise_bytes(packed.op, act, first, x.data(), stride, out.data(), packed.op.n, nullptr, 0, pixels);
    k.pointwise_floats(packed.op, act, first, x.data(), stride, floats.data(), packed.op.n, pixels);
  }
  for (long p = 0; p < pixels; p++)
    for (long c = 0; c < n; c++) {
      long sum = layer.bias[c];
      for (long i = 0; i < in; i++) sum += long{x[p * stride + i]} * layer.weights[c * in + i];
      check(k, "pointwise_bytes", out[p * packed.op.n + c], layer.code(sum, c, act));
      check(k, "pointwise_floats", floats[p * packed.op.n + c], layer.real(sum, c, act));
    }
}

void test_depthwise(const Int8Kernels& k) {
  const long height = draw(1, 12), width = draw(1, 19), channels = 16 * draw(1, 4), kernel = 3 + 2 * draw(0, 1);
  const long stride = draw(1, 2), dilation = stride == 2 ? 1 : 1L << draw(0, 2);
  const Act act = static_cast<Act>(draw(1, 2));
  const Layer layer(channels, kernel * kernel, act);
  const PackedDepthwiseInt8 packed(layer.given, k.products, kernel, stride, dilation);
  const PackedPointwiseInt8 none;
  const Geometry g = geometry({height, width, 0}, kernel, stride, dilation, draw(0, 1));
  const std::vector<uint8_t> x = drawn_bytes(height * width * channels);
  std::vector<uint8_t> out(g.out_height * g.out_width * channels);
  const Buffer work(k.int8_block_work(packed.op, g) / 4 + 16);
  std::vector<int32_t> sums(channels), wanted_sums(channels);
  const uint8_t padding = static_cast<uint8_t>(draw(0, 255));
  for (long first = 0; first < channels; first += INT8_PANEL) {
    long made = -1;
    k.int8_block_rows({none.op, packed.op, act, act, g, first, x.data(), channels, out.data(), channels, sums.data(),
                       reinterpret_cast<uint8_t*>(work.get()), padding, 0, g.out_height}, made);
  }
  for (long y = 0; y < g.out_height; y++)
    for (long i = 0; i < g.out_width; i++)
      for (long c = 0; c < channels; c++) {
        long sum = layer.bias[c];
        for (long ky = 0; ky < kernel; ky++)
          for (long kx = 0; kx < kernel; kx++) {
            const long row = y * stride - g.top + ky * dilation, column = i * stride - g.left + kx * dilation;
            const bool inside = row >= 0 && row < height && column >= 0 && column < width;
            sum += long{inside ? x[(row * width + column) * channels + c] : padding} * layer.weights[(c * kernel + ky) * kernel + kx];
          }
        check(k, "int8_block_rows", out[(y * g.out_width + i) * channels + c], layer.code(sum, c, act));
        wanted_sums[c] += layer.code(sum, c, act);
      }
  for (long c = 0; c < channels; c++) check(k, "int8_block_rows (sums)", sums[c], wanted_sums[c]);
}

void test_stem(const Int8Kernels& k) {
  const long columns = draw(1, 40), planes = draw(1, 4), n = 16 * draw(1, 2), stride = draw(1, 2);
  const Layer layer(n, planes * 9, Act::hard_swish);
  const PackedStemInt8 packed(layer.given, k.products, planes, stride);
  const long width = ((columns - 1) * stride + 3) * planes + 16;
  const std::vector<uint8_t> x = drawn_bytes(3 * width);
  const uint8_t* rows[3] = {x.data(), x.data() + width, x.data() + 2 * width};
  std::vector<uint8_t> out(columns * n);
  k.int8_stem_row(packed.op, Act::hard_swish, rows, columns, out.data());
  for (long i = 0; i < columns; i++)
    for (long c = 0; c < n; c++) {
      long sum = layer.bias[c];
      for (long tap = 0; tap < planes * 9; tap++)
        sum += long{rows[tap / 3 % 3][(i * stride + tap % 3) * planes + tap / 9]} * layer.weights[c * planes * 9 + tap];
      check(k, "int8_stem_row", out[i * n + c], layer.code(sum, c, Act::hard_swish));
    }
}

void test_small_ones(const Int8Kernels& k) {
  const long pixels = draw(1, 30), channels = 16 * draw(1, 9);
  const std::vector<uint8_t> x = drawn_bytes(pixels * channels), table = drawn_bytes(3 * 256), colours = drawn_bytes(pixels * 3);
  std::vector<uint8_t> out(pixels * channels), found(pixels * 3), rounded(channels);
  std::vector<float> gate(channels), halves(channels);
  for (float& g : gate) g = draw(0, 1000) / 1000.0f;
  for (float& h : halves) h = draw(-300, 600) / 2.0f;
  std::vector<int32_t> sums(channels);
  const Gating gating{31, 0.02f, 90.0f, 12};
  k.gate_bytes(x.data(), gate.data(), gating, channels, pixels, out.data());
  k.sum_bytes(x.data(), channels, pixels, sums.data());
  k.to_bytes(halves.data(), 1.0f, 7, channels, rounded.data());
  k.look_up(colours.data(), table.data(), 3, pixels, found.data());
  for (long c = 0; c < channels; c++) {
    long sum = 0;
    for (long p = 0; p < pixels; p++) {
      sum += x[p * channels + c];
      const float y = static_cast<float>(x[p * channels + c] - gating.from) * gate[c] * gating.scale;
      const int code = std::clamp(static_cast<int>(std::nearbyint(y * gating.inverse)) + gating.zero, 0, 255);
      check(k, "gate_bytes", out[p * channels + c], code);
    }
    check(k, "sum_bytes", sums[c], sum);
    check(k, "to_bytes", rounded[c], std::clamp(static_cast<int>(std::nearbyint(halves[c])) + 7, 0, 255));
  }
  for (long i = 0; i < pixels * 3; i++) check(k, "look_up", found[i], table[i % 3 * 256 + colours[i]]);
}

}  // namespace

int test_int8(const Int8Kernels& k) {
  failures = 0;
  for (int turn = 0; turn < 40; turn++) {
    test_pointwise(k);
    test_depthwise(k);
    test_stem(k);
    test_small_ones(k);
  }
  return failures;
}
