// Depthwise convolution for training: forward, and the gradients of input and weights.
//
// A picture's rows of a panel of channels are copied, as floats with zeros around them, into a strip that stays in
// the second-level cache; over the strip all three are plain sums without a test for borders. One task is some
// pictures with all their panels, which share cache lines; of few pictures, two panels.
#pragma once

#include <type_traits>

#include "kernels.h"
#include "storage.h"

namespace hswish::HSWISH_LEVEL::training {

using hswish::training::Loop;
using hswish::training::Window;

constexpr long STRIP_BYTES = 192 * 1024;
constexpr long TASKS = 64;  // about so many: enough to share out evenly, few enough to be worth their preparation

#if defined(__AVX512F__)
constexpr int PIXELS = 8, TAP_ROWS = 5;  // neighbours, and rows of a window, whose sums fit the registers
#else
constexpr int PIXELS = 4, TAP_ROWS = 1;
#endif

// ---------------------------------------------------------------- pictures, panels and strips

// A panel of one picture. `fresh`: nothing is left in the scratch memory of the panel before, of as many lanes.
struct Place {
  long part, picture, channel;
  bool fresh;
};

// How the work is cut into parts (of pictures) and groups (of panels), whatever the number of threads.
struct Shares {
  long panels, group, groups, pictures, parts;

  explicit Shares(const Window& w)
      : panels((w.channels + 15) / 16),
        group(w.pictures < TASKS / 2 ? 2 : panels),
        groups((panels + group - 1) / group),
        pictures(larger(1L, w.pictures * groups / TASKS)),
        parts((w.pictures + pictures - 1) / pictures) {}
};

// work(scratch, place, lanes) for every panel of every picture; a last panel may have 8 channels.
template <class Work>
static void each_place(const Loop& loop, const Window& w, const Work& work) {
  const Shares shares(w);
  loop(shares.parts * shares.groups, [&](long index) {
    static thread_local Memory<float> scratch, narrow;
    const long part = index / shares.groups, first = index % shares.groups * shares.group;
    const long begin = part * shares.pictures, end = smaller(begin + shares.pictures, w.pictures);
    for (long picture = begin; picture < end; picture++)
      for (long panel = first; panel < smaller(first + shares.group, shares.panels); panel++) {
        if (panel * 16 + 16 <= w.channels)
          work(scratch, Place{part, picture, panel * 16, picture == begin && panel == first}, std::integral_constant<int, 16>());
        else
          work(narrow, Place{part, picture, panel * 16, picture == begin}, std::integral_constant<int, 8>());
      }
  });
}

// Weights (C, K * K) panel by panel, and in each tap by tap: [K * K][lanes], so that a panel begins at channel * K * K.
template <int K>
static void take_panels(const float* weights, long channels, bool flipped, float* out) {
  for (long channel = 0; channel < channels; channel += 16) {
    const long lanes = smaller(16, channels - channel);
    for (int k = 0; k < K * K; k++)
      for (long i = 0; i < lanes; i++)
        *out++ = weights[(channel + i) * K * K + (flipped ? K * K - 1 - k : k)];
  }
}

// The padded strip that a window slides over.
struct Strip {
  long width, rows, out_rows;  // rows of input that `out_rows` rows of output need

  template <int N>
  static Strip of(const Window& w, int stride) {
    const long reach = (w.kernel - 1) * w.dilation;
    Strip s;
    s.width = larger(w.width + 2 * w.padding, (w.out_width - 1) * stride + reach + 1);
    s.out_rows = larger(1L, smaller(w.out_height, (STRIP_BYTES / static_cast<long>(s.width * N * sizeof(float)) - reach) / stride));
    s.rows = (s.out_rows - 1) * stride + reach + 1;
    return s;
  }
};

// Rows [first, last) of the padded picture, counted from its padding's first; the zeros around it only if wanted.
template <int N, class T>
static void fill(float* out, const T* x, const Window& w, long padding, long width, long first, long last, bool zeros) {
  for (long row = first; row < last; row++, out += width * N) {
    const long y = row - padding;
    if (y < 0 || y >= w.height) {
      if (zeros) std::memset(out, 0, width * N * sizeof(float));
      continue;
    }
    float* inside = out + padding * N;
    if (zeros) {
      std::memset(out, 0, padding * N * sizeof(float));
      std::memset(inside + w.width * N, 0, (width - padding - w.width) * N * sizeof(float));
    }
    const T* line = x + y * w.width * w.channels;
    for (long i = 0; i < w.width; i++) store<N>(inside + i * N, load<N>(line + i * w.channels));
  }
}

// use(rows of input in a strip, their width, first and last row of output) strip by strip. Where a strip holds the
// whole picture, the zeros around the first one serve them all.
template <int N, int K, int S, class T, class Use>
static inline void each_strip(Memory<float>& scratch, const Window& w, const Place& place, const T* x, const Use& use) {
  const Strip strip = Strip::of<N>(w, S);
  float* rows = scratch.at_least(strip.width * strip.rows * N);
  const T* picture = x + place.picture * w.height * w.width * w.channels + place.channel;
  for (long first = 0; first < w.out_height; first += strip.out_rows) {
    const long last = smaller(w.out_height, first + strip.out_rows);
    fill<N>(rows, picture, w, w.padding, strip.width, first * S, (last - 1) * S + (K - 1) * w.dilation + 1,
            place.fresh || strip.out_rows < w.out_height);
    use(rows, strip.width, first, last);
  }
}

// run(count as a constant, first) over `count` neighbours, most of them several at a time.
template <class Run>
static inline void in_groups(long count, const Run& run) {
  long i = 0;
  for (; i + PIXELS <= count; i += PIXELS) run(std::integral_constant<int, PIXELS>(), i);
  for (; i + PIXELS / 2 <= count; i += PIXELS / 2) run(std::integral_constant<int, PIXELS / 2>(), i);
  for (; i < count; i++) run(std::integral_constant<int, 1>(), i);
}

// ---------------------------------------------------------------- forward

// COUNT neighbouring outputs, their sums in registers.
template <int N, int K, int S, int COUNT, class T>
static inline void outputs(const float* x, long width, long dilation, const float* weights, T* out, long channels) {
  Floats<N> sum[COUNT] = {};
  for (int ky = 0; ky < K; ky++)
#pragma GCC unroll 5
    for (int kx = 0; kx < K; kx++) {
      const Floats<N> tap = load<N>(weights + (ky * K + kx) * N);
#pragma GCC unroll 8
      for (int o = 0; o < COUNT; o++) sum[o] += tap * load<N>(x + (ky * dilation * width + o * S + kx * dilation) * N);
    }
#pragma GCC unroll 8
  for (int o = 0; o < COUNT; o++) store<N>(out + o * channels, sum[o]);
}

template <class T, int K, int S>
static void depthwise_of(const Loop& loop, const Window& w, const T* x, const float* weights, bool flipped, T* out) {
  Memory<float> taps(w.channels * K * K);
  take_panels<K>(weights, w.channels, flipped, taps.data());
  each_place(loop, w, [&](Memory<float>& scratch, const Place& place, auto lanes) {
    constexpr int N = decltype(lanes)::value;
    const float* panel = taps.data() + place.channel * K * K;
    each_strip<N, K, S>(scratch, w, place, x, [&](const float* rows, long width, long first, long last) {
      for (long y = first; y < last; y++) {
        const float* row = rows + (y - first) * S * width * N;
        T* line = out + (place.picture * w.out_height + y) * w.out_width * w.channels + place.channel;
        in_groups(w.out_width, [&](auto count, long i) {
          outputs<N, K, S, decltype(count)::value>(row + i * S * N, width, w.dilation, panel, line + i * w.channels, w.channels);
        });
      }
    });
  });
}

// ---------------------------------------------------------------- the gradient of the input

// At stride 2 a pixel gathers from the outputs whose windows met it: those of every second tap, and which ones is the
// same for every second pixel of a row. COUNT such pixels; `row` is the gradient's that the first of the
// ROWS x COLUMNS taps meets.
template <int N, int K, int ROWS, int COLUMNS, int COUNT, class T>
static inline void gathered(const float* row, long width, const float* weights, T* out, long step) {
  Floats<N> sum[COUNT] = {};
#pragma GCC unroll 3
  for (int ky = 0; ky < ROWS; ky++)
#pragma GCC unroll 3
    for (int kx = 0; kx < COLUMNS; kx++) {
      const Floats<N> tap = load<N>(weights + (2 * ky * K + 2 * kx) * N);
#pragma GCC unroll 8
      for (int o = 0; o < COUNT; o++) sum[o] += tap * load<N>(row + (o - kx - ky * width) * N);
    }
#pragma GCC unroll 8
  for (int o = 0; o < COUNT; o++) store<N>(out + o * step, sum[o]);
}

// call(number of taps) as a constant: every second one of K, from the first or the second on.
template <int K, class Call>
static inline void with_taps(long first, const Call& call) {
  first ? call(std::integral_constant<int, K / 2>()) : call(std::integral_constant<int, (K + 1) / 2>());
}

template <class T, int K>
static void gather_of(const Loop& loop, const Window& w, const T* gradient, const float* weights, T* out) {
  constexpr long MARGIN = K / 2 + 1;
  Memory<float> taps(w.channels * K * K);
  take_panels<K>(weights, w.channels, false, taps.data());
  Window of_gradient = w;
  of_gradient.height = w.out_height, of_gradient.width = w.out_width;
  const long width = w.out_width + 2 * MARGIN, height = w.out_height + 2 * MARGIN;
  each_place(loop, w, [&](Memory<float>& scratch, const Place& place, auto lanes) {
    constexpr int N = decltype(lanes)::value;
    float* plane = scratch.at_least(width * height * N);
    fill<N>(plane, gradient + place.picture * w.out_height * w.out_width * w.channels + place.channel, of_gradient, MARGIN,
            width, 0, height, place.fresh);
    for (long y = 0; y < w.height; y++) {
      T* line = out + (place.picture * w.height + y) * w.width * w.channels + place.channel;
      const long ky = (y + w.padding) & 1;
      const float* row = plane + ((y + w.padding) / 2 + MARGIN) * width * N;
      for (long x = 0; x < smaller(2, w.width); x++) {
        const long kx = (x + w.padding) & 1;
        const float* column = row + ((x + w.padding) / 2 + MARGIN) * N;
        const float* panel = taps.data() + (place.channel * K * K + (ky * K + kx) * N);
        with_taps<K>(ky, [&](auto rows) {
          with_taps<K>(kx, [&](auto columns) {
            in_groups((w.width - x + 1) / 2, [&](auto count, long i) {
              gathered<N, K, decltype(rows)::value, decltype(columns)::value, decltype(count)::value>(
                  column + i * N, width, panel, line + (x + 2 * i) * w.channels, 2 * w.channels);
            });
          });
        });
      }
    }
  });
}

// At stride 1 the gradient of the input is a convolution again: of the gradient, by the flipped weights.
template <class T, int K, int S>
static void depthwise_input_of(const Loop& loop, const Window& w, const T* gradient, const float* weights, T* out) {
  if constexpr (S == 2) return gather_of<T, K>(loop, w, gradient, weights, out);
  Window back = w;
  back.height = w.out_height, back.width = w.out_width, back.out_height = w.height, back.out_width = w.width;
  back.padding = (K - 1) * w.dilation - w.padding;
  depthwise_of<T, K, 1>(loop, back, gradient, weights, true, out);
}

// ---------------------------------------------------------------- the gradient of the weights

// Adds to sums [K * K][N] those of rows [first, last) of outputs; x is the first row that their windows meet.
template <int N, int K, int S, class T>
static inline void correlate(const float* x, long width, const Window& w, const T* gradient, long first, long last,
                             float* sums) {
  constexpr int ROWS = TAP_ROWS < K ? TAP_ROWS : K;
  for (int top = 0; top < K; top += ROWS) {
    Floats<N> sum[ROWS * K];
#pragma GCC unroll 25
    for (int k = 0; k < ROWS * K; k++) sum[k] = load<N>(sums + (top * K + k) * N);
    for (long y = first; y < last; y++)
      for (long i = 0; i < w.out_width; i++) {
        const Floats<N> g = load<N>(gradient + (y * w.out_width + i) * w.channels);
#pragma GCC unroll 5
        for (int ky = 0; ky < ROWS; ky++)
#pragma GCC unroll 5
          for (int kx = 0; kx < K; kx++)
            sum[ky * K + kx] +=
                g * load<N>(x + (((y - first) * S + (top + ky) * w.dilation) * width + i * S + kx * w.dilation) * N);
      }
#pragma GCC unroll 25
    for (int k = 0; k < ROWS * K; k++) store<N>(sums + (top * K + k) * N, sum[k]);
  }
}

// Each part of the pictures by itself, then their sum in one order: the threads' number changes nothing.
template <class T, int K, int S>
static void depthwise_weights_of(const Loop& loop, const Window& w, const T* gradient, const T* x, float* out) {
  const long count = Shares(w).parts, size = w.channels * K * K;
  Memory<float> parts(count * size);
  std::memset(parts.data(), 0, count * size * sizeof(float));
  each_place(loop, w, [&](Memory<float>& scratch, const Place& place, auto lanes) {
    constexpr int N = decltype(lanes)::value;
    const T* of_picture = gradient + place.picture * w.out_height * w.out_width * w.channels + place.channel;
    each_strip<N, K, S>(scratch, w, place, x, [&](const float* rows, long width, long first, long last) {
      correlate<N, K, S>(rows, width, w, of_picture, first, last, parts.data() + place.part * size + place.channel * K * K);
    });
  });
  Memory<double> totals(size);
  double* total = totals.data();
  std::memset(total, 0, size * sizeof(double));
  for (long part = 0; part < count; part++)
    for (long i = 0; i < size; i++) total[i] += parts.data()[part * size + i];
  for (long channel = 0; channel < w.channels; channel += 16) {
    const long lanes = smaller(16, w.channels - channel);
    for (int k = 0; k < K * K; k++)
      for (long i = 0; i < lanes; i++) out[(channel + i) * K * K + k] = static_cast<float>(*total++);
  }
}

// call(type, kernel, stride) with the three as compile-time constants.
template <class Call>
static void with_constants(bool half, const Window& w, const Call& call) {
  const auto sized = [&](auto type) {
    if (w.kernel == 3 && w.stride == 1) return call(type, std::integral_constant<int, 3>(), std::integral_constant<int, 1>());
    if (w.kernel == 3) return call(type, std::integral_constant<int, 3>(), std::integral_constant<int, 2>());
    if (w.stride == 1) return call(type, std::integral_constant<int, 5>(), std::integral_constant<int, 1>());
    return call(type, std::integral_constant<int, 5>(), std::integral_constant<int, 2>());
  };
  half ? sized(bf16()) : sized(float());
}

static void depthwise(const Loop& loop, bool half, const Window& w, const void* x, const float* weights, void* out) {
  with_constants(half, w, [&](auto type, auto kernel, auto stride) {
    typedef decltype(type) T;
    depthwise_of<T, decltype(kernel)::value, decltype(stride)::value>(loop, w, static_cast<const T*>(x), weights, false,
                                                                      static_cast<T*>(out));
  });
}

static void depthwise_input(const Loop& loop, bool half, const Window& w, const void* gradient, const float* weights,
                            void* out) {
  with_constants(half, w, [&](auto type, auto kernel, auto stride) {
    typedef decltype(type) T;
    depthwise_input_of<T, decltype(kernel)::value, decltype(stride)::value>(loop, w, static_cast<const T*>(gradient),
                                                                            weights, static_cast<T*>(out));
  });
}

static void depthwise_weights(const Loop& loop, bool half, const Window& w, const void* gradient, const void* x,
                              float* out) {
  with_constants(half, w, [&](auto type, auto kernel, auto stride) {
    typedef decltype(type) T;
    depthwise_weights_of<T, decltype(kernel)::value, decltype(stride)::value>(
        loop, w, static_cast<const T*>(gradient), static_cast<const T*>(x), out);
  });
}

}  // namespace hswish::HSWISH_LEVEL::training
