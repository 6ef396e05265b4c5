// Tests the kernels without Python, for processors that are only emulated: each kernel of each instruction
// set against loops in double precision, over random shapes. Prints what differs; exit status 1 if anything does.
//
// The fuller tests are in tests/runtime/native; both have the same meaning of a kernel.
#include <cmath>
#include <cstdio>
#include <random>

#include "levels.h"
#include "steps.h"

using namespace hswish;

int test_int8(const Int8Kernels& k);  // int8_selftest.cpp: how many numbers differ

static std::mt19937 generator(1);
static int failures = 0;

static long draw(long from, long to) { return std::uniform_int_distribution<long>(from, to)(generator); }

struct Floats : std::vector<float> {
  explicit Floats(long count) : std::vector<float>(count) {
    std::normal_distribution<float> normal;
    for (float& value : *this) value = normal(generator);
  }
};

static double activate(double x, Act act) {
  const double gate = std::min(std::max(x + 3, 0.0), 6.0) / 6;
  return act == Act::relu ? std::max(x, 0.0) : act == Act::hard_swish ? x * gate : x;
}

static void check(const char* level, const char* kernel, double found, double wanted, double size) {
  if (std::abs(found - wanted) <= 1e-5 * (size + 1)) return;
  if (failures++ < 20) std::printf("%s %s: %g, not %g\n", level, kernel, found, wanted);
}

static void test_pointwise(const Kernels& k) {
  const long pixels = draw(1, 40), in = draw(1, 70), n = 8 * draw(1, 9);
  const Act act = static_cast<Act>(draw(0, 2));
  const bool residual = act == Act::none;
  Floats x(pixels * in), w(n * in), b(n), added(pixels * n), out(pixels * n);
  PackedPointwise packed(w.data(), b.data(), n, in, k.panel);
  for (long first = 0; first < n; first += k.panel)
    k.pointwise(packed.op, act, first, x.data(), in, out.data(), n, residual ? added.data() : nullptr, pixels);
  for (long p = 0; p < pixels; p++)
    for (long c = 0; c < n; c++) {
      double sum = b[c];
      for (long i = 0; i < in; i++) sum += double(x[p * in + i]) * w[c * in + i];
      check(k.name, "pointwise", out[p * n + c], activate(sum, act) + (residual ? added[p * n + c] : 0), 4 * in);
    }
}

static void test_block(const Kernels& k) {
  const long height = draw(1, 30), width = draw(1, 30), in = 8 * draw(1, 3), channels = 8 * draw(1, 9);
  const long kernel = 3 + 2 * draw(0, 1), stride = draw(1, 2), dilation = stride == 1 ? 1 << draw(0, 2) : 1;
  const long strip = draw(1, 30);
  const Act act = static_cast<Act>(draw(1, 2)), after = static_cast<Act>(draw(0, 2));
  Floats x(height * width * in), w(channels * in), b(channels), dw(channels * kernel * kernel), db(channels);
  const Geometry g = geometry({height, width, in}, kernel, stride, dilation, draw(0, 1));
  Floats out(g.out_height * g.out_width * channels), sums(channels);
  PackedPointwise expand(w.data(), b.data(), channels, in, k.panel);
  PackedDepthwise depthwise(dw.data(), db.data(), channels, kernel, stride, dilation, k.panel);
  std::vector<float> work(k.block_work(depthwise.op, g));
  for (long first = 0; first < channels; first += k.panel) {
    BlockState state;
    for (long y = 0; y < g.out_height; y += strip) {
      BlockRows op{expand.op, depthwise.op, act, after, g, first, x.data(), in,
                   out.data() + y * g.out_width * channels + first, channels, sums.data(), work.data(), y,
                   std::min(y + strip, g.out_height)};
      k.block_rows(op, state);
    }
  }
  std::vector<double> rows(height * width * channels);
  for (long p = 0; p < height * width; p++)
    for (long c = 0; c < channels; c++) {
      double sum = b[c];
      for (long i = 0; i < in; i++) sum += double(x[p * in + i]) * w[c * in + i];
      rows[p * channels + c] = activate(sum, act);
    }
  for (long c = 0; c < channels; c++) {
    double total = 0;
    for (long y = 0; y < g.out_height; y++)
      for (long j = 0; j < g.out_width; j++) {
        double sum = db[c];
        for (long tap = 0; tap < kernel * kernel; tap++) {
          const long sy = y * stride - g.top + tap / kernel * dilation, sx = j * stride - g.left + tap % kernel * dilation;
          if (sy >= 0 && sy < height && sx >= 0 && sx < width) sum += rows[(sy * width + sx) * channels + c] * dw[c * kernel * kernel + tap];
        }
        check(k.name, "block_rows", out[(y * g.out_width + j) * channels + c], activate(sum, after), 500);
        total += activate(sum, after);
      }
    check(k.name, "block_rows (sums)", sums[c], total, 500 * g.out_height * g.out_width);
  }
}

static void test_stem(const Kernels& k) {
  const long planes = draw(1, 4), height = draw(1, 30), width = draw(1, 30), n = 8 * draw(1, 5), stride = draw(1, 2);
  const Act act = static_cast<Act>(draw(1, 2));
  Floats w(n * planes * 9), b(n), table(planes * 256);
  std::vector<uint8_t> bytes(height * width * planes);
  for (uint8_t& byte : bytes) byte = draw(0, 255);
  StemStep<float> step(w.data(), b.data(), n, planes, stride, act, false);
  const Geometry g = geometry({height, width, 0}, 3, stride, 1, draw(0, 1));
  Picture picture;
  picture.bytes = bytes.data(), picture.table = table.data();
  Floats out(g.out_width * n);
  std::vector<float> work(k.stem_work(step.op(), g));
  for (long y = 0; y < g.out_height; y++) {
    k.stem_row(step.op(), act, g, picture, y, out.data(), work.data());
    for (long j = 0; j < g.out_width; j++)
      for (long c = 0; c < n; c++) {
        double sum = b[c];
        for (long i = 0; i < planes * 9; i++) {
          const long sy = y * stride - g.top + i % 9 / 3, sx = j * stride - g.left + i % 3;
          if (sy >= 0 && sy < height && sx >= 0 && sx < width)
            sum += double(table[i / 9 * 256 + bytes[(sy * width + sx) * planes + i / 9]]) * w[c * planes * 9 + i];
        }
        check(k.name, "stem_row", out[j * n + c], activate(sum, act), 100);
      }
  }
}

static void test_small_ones(const Kernels& k) {
  const long height = draw(1, 12), width = draw(1, 12), channels = 8 * draw(1, 5), pixels = height * width;
  const Act act = static_cast<Act>(draw(0, 2));
  Floats x(pixels * channels), gate(channels), out(pixels * channels), row_gate(pixels);
  std::vector<float> scaled = x, gated = gate;
  k.scale(scaled.data(), gate.data(), channels, pixels, act);
  k.scale_panel(out.data(), x.data(), row_gate.data(), pixels, channels);
  k.h_sigmoid(gated.data(), channels);
  std::vector<float> mean(channels);
  k.mean(x.data(), channels, height, width, width * channels, mean.data());
  for (long c = 0; c < channels; c++) {
    double sum = 0;
    for (long p = 0; p < pixels; p++) {
      const long i = p * channels + c;
      sum += x[i];
      check(k.name, "scale", scaled[i], activate(double(x[i]) * gate[c], act), 20);
      check(k.name, "scale_panel", out[i], double(x[i]) * row_gate[p], 20);
    }
    check(k.name, "mean", mean[c], sum / pixels, 4);
    check(k.name, "h_sigmoid", gated[c], std::min(std::max(gate[c] + 3.0, 0.0), 6.0) / 6, 1);
  }
}

static void test_resizes(const Kernels& k) {
  const long height = draw(1, 9), width = draw(1, 9), channels = 8 * draw(1, 3), used = draw(1, channels);
  const long full_height = draw(1, 40), full_width = 4 * draw(1, 10);
  const bool corners = draw(0, 1);
  Floats x(height * width * channels), added(full_width * channels), times = added, planes(used * full_height * full_width);
  const Resize down(height, full_height, corners), across(width, full_width, corners);
  const Axis rows = down.axis(), columns = across.axis();
  std::vector<uint8_t> mask(full_width);
  std::vector<float> work(scores_work(used, width)), flat(used * height * width);
  to_planes(x.data(), {height, width, channels}, used, 0, height, flat.data());
  const std::vector<float> before = added;
  const long y = draw(0, full_height - 1);
  k.upsample_add_row(rows, columns, y, x.data(), width, channels, Act::none, added.data());
  k.upsample_multiply_row(rows, columns, y, x.data(), width, channels, times.data());
  k.upsample_planes_row(rows, columns, y, flat.data(), height, width, used, planes.data(), work.data());
  k.upsample_mask_row(rows, columns, y, flat.data(), height, width, used, mask.data(), work.data());
  for (long j = 0; j < full_width; j++)
    for (long c = 0; c < channels; c++) {
      const auto at = [&](long row, long column) { return double(x[(row * width + column) * channels + c]); };
      const auto mix = [&](long row) {
        return at(row, columns.first[j]) * (1 - columns.weight[j]) + at(row, columns.second[j]) * columns.weight[j];
      };
      const double wanted = mix(rows.first[y]) * (1 - rows.weight[y]) + mix(rows.second[y]) * rows.weight[y];
      check(k.name, "upsample_add_row", added[j * channels + c], before[j * channels + c] + wanted, 5);
      check(k.name, "upsample_multiply_row", times[j * channels + c], before[j * channels + c] * wanted, 20);
      if (c >= used) continue;
      const auto score = [&](long plane) { return planes[(plane * full_height + y) * full_width + j]; };
      check(k.name, "upsample_planes_row", score(c), wanted, 5);
      check(k.name, "upsample_mask_row", score(mask[j]) >= score(c), 1, 0);
    }
}

static void test_masks(const MaskKernels& k) {
  const long classes = draw(1, 21), width = draw(1, 40), full = draw(1, 90);
  Floats line(width), top(classes * full), bottom(classes * full);
  const Resize resize(width, full, false);
  const Axis across = resize.axis();
  std::vector<float> wide(full);
  std::vector<uint8_t> mask(full);
  const float weight = draw(0, 8) / 8.0f;
  k.widen(across, line.data(), width, wide.data());
  k.highest(top.data(), bottom.data(), weight, classes, full, full, mask.data());
  for (long i = 0; i < full; i++) {
    const double t = across.weight[i];
    check(k.name, "widen", wide[i], line[across.first[i]] * (1 - t) + line[across.second[i]] * t, 4);
    const auto score = [&](long c) { return top[c * full + i] * (1 - weight) + bottom[c * full + i] * weight; };
    for (long c = 0; c < classes; c++) check(k.name, "highest", score(mask[i]) >= score(c), 1, 0);
  }
}

int main() {
  for (const Level& level : levels()) {
    if (!level.runs_here) continue;
    const Kernels& k = *level.kernels;
    for (int turn = 0; turn < 40; turn++) {
      test_pointwise(k);
      test_block(k);
      test_stem(k);
      test_small_ones(k);
      test_resizes(k);
      test_masks(*level.masks);
    }
    failures += test_int8(*level.int8);
    Floats sum(16);
    if (k.multiply_adds(10, sum.data()) <= 0) failures++;
    std::printf("%s: %s\n", level.name, failures ? "FAILED" : "ok");
  }
  return failures ? 1 : 0;
}
