// Depthwise convolution for training: forward, and the gradients of input and weights.
//
// A picture's rows of some panels of channels, side by side in memory, are copied, as floats with zeros around them,
// into a strip for each panel that stays in the second-level cache; over the strip all three are plain sums without a
// test for borders. One task is some pictures with all their panels; of few pictures, the panels of one bundle.
#pragma once

#include <type_traits>

#include "kernels.h"
#include "storage.h"

namespace hswish::HSWISH_LEVEL::training {

using hswish::training::Loop;
using hswish::training::Window;

constexpr long STRIP_BYTES = 192 * 1024;
constexpr long TASKS = 64;  // about so many: enough to share out evenly, few enough to be worth their preparation
constexpr int PIXELS = WIDEST / 2;  // neighbours whose sums fit the registers
#if defined(__AVX512F__)
constexpr int SUMS = 25;  // of taps, that do
#else
constexpr int SUMS = 10;
#endif

// The widest vector of a panel of N channels.
template <int N>
constexpr int LANES = N < WIDEST ? N : WIDEST;

// ---------------------------------------------------------------- pictures, panels and strips

// Panels of one picture, from a channel on. `fresh`: nothing is left in the scratch memory of the panels before, of as
// many lanes.
struct Place {
  long part, picture, channel, panels;
  bool fresh;
};

// Panels whose strips are filled at once: more are read in the order of memory, fewer leave room for more rows, of
// which the next strip needs `reach` once more.
static inline long bundle_of(const Window& w) {
  const long reach = (w.kernel - 1) * w.dilation;
  const long rows = STRIP_BYTES / (16 * sizeof(float) * (larger(w.width, w.out_width) + 2 * reach));
  const long least = smaller(w.height + 2 * w.padding, 2 * reach + 1);
  return rows >= 4 * least ? 4 : rows >= 2 * least ? 2 : 1;
}

// How the work is cut into parts (of pictures) and groups (of panels), whatever the number of threads.
struct Shares {
  long panels, bundle, group, groups, pictures, parts;

  explicit Shares(const Window& w)
      : panels((w.channels + 15) / 16),
        bundle(bundle_of(w)),
        group(w.pictures < TASKS / 2 ? bundle : panels),
        groups((panels + group - 1) / group),
        pictures(larger(1L, w.pictures * groups / TASKS)),
        parts((w.pictures + pictures - 1) / pictures) {}
};

// work(scratch, place, lanes) for all panels of every picture; a last panel may have 8 channels.
template <class Work>
static void each_place(const Loop& loop, const Window& w, const Work& work) {
  const Shares shares(w);
  loop(shares.parts * shares.groups, [&](long index) {
    static thread_local Memory<float> scratch, narrow;
    const long part = index / shares.groups, first = index % shares.groups * shares.group;
    const long begin = part * shares.pictures, end = smaller(begin + shares.pictures, w.pictures);
    const long last = smaller(first + shares.group, shares.panels), last_whole = smaller(last, w.channels / 16);
    for (long picture = begin; picture < end; picture++) {
      for (long panel = first; panel < last_whole; panel += shares.bundle) {
        const long panels = smaller(shares.bundle, last_whole - panel);
        const Place place{part, picture, panel * 16, panels, picture == begin && panel == first};
        work(scratch, place, std::integral_constant<int, 16>());
      }
      if (last_whole < last)
        work(narrow, Place{part, picture, last_whole * 16, 1, picture == begin}, std::integral_constant<int, 8>());
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
  static Strip of(const Window& w, int stride, long panels) {
    const long reach = (w.kernel - 1) * w.dilation;
    Strip s;
    s.width = larger(w.width + 2 * w.padding, (w.out_width - 1) * stride + reach + 1);
    const long rows = STRIP_BYTES / static_cast<long>(panels * s.width * N * sizeof(float));
    s.out_rows = larger(1L, smaller(w.out_height, (rows - reach) / stride));
    s.rows = (s.out_rows - 1) * stride + reach + 1;
    return s;
  }
};

// Rows [first, last) of the padded picture, counted from its padding's first; the zeros around it only if wanted. Of
// `panels` panels beside each other, each into a strip of its own, `apart` numbers from the one before.
template <int N, class T>
static void fill(float* out, long apart, long panels, const T* x, const Window& w, long padding, long width, long first,
                 long last, bool zeros) {
  for (long row = first; row < last; row++, out += width * N) {
    const long y = row - padding;
    const bool outside = y < 0 || y >= w.height;
    if (zeros)
      for (long p = 0; p < panels; p++) {
        float* line = out + p * apart;
        std::memset(line, 0, (outside ? width : padding) * N * sizeof(float));
        std::memset(line + (padding + w.width) * N, 0, (width - padding - w.width) * N * sizeof(float));
      }
    if (outside) continue;
    const T* line = x + y * w.width * w.channels;
    for (long i = 0; i < w.width; i++, line += w.channels)
      for (long p = 0; p < panels; p++)
#pragma GCC unroll 4
        for (int v = 0; v < N; v += LANES<N>)
          store<LANES<N>>(out + p * apart + (padding + i) * N + v, load<LANES<N>>(line + p * N + v));
  }
}

// use(rows of input in a strip, their width, row of output, which panel) row by row. Where a strip holds the whole
// picture, the zeros around the first one serve them all.
template <int N, int K, int S, class T, class Use>
static inline void each_row(Memory<float>& scratch, const Window& w, const Place& place, long bundle, const T* x,
                            const Use& use) {
  const Strip strip = Strip::of<N>(w, S, bundle);
  const long apart = strip.width * strip.rows * N;
  float* rows = scratch.at_least(bundle * apart);
  const T* picture = x + place.picture * w.height * w.width * w.channels + place.channel;
  for (long first = 0; first < w.out_height; first += strip.out_rows) {
    const long last = smaller(w.out_height, first + strip.out_rows);
    fill<N>(rows, apart, place.panels, picture, w, w.padding, strip.width, first * S,
            (last - 1) * S + (K - 1) * w.dilation + 1, place.fresh || strip.out_rows < w.out_height);
    for (long y = first; y < last; y++)
      for (long p = 0; p < place.panels; p++) use(rows + p * apart + (y - first) * S * strip.width * N, strip.width, y, p);
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

// COUNT neighbouring outputs, their sums in registers: R for the N channels of each.
template <int N, int K, int S, int COUNT, class T>
static inline void outputs(const float* x, long width, long dilation, const float* weights, T* out, long channels) {
  constexpr int V = LANES<N>, R = N / V;
  Floats<V> sum[COUNT * R] = {};
  for (int ky = 0; ky < K; ky++)
#pragma GCC unroll 5
    for (int kx = 0; kx < K; kx++)
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) {
        const Floats<V> tap = load<V>(weights + (ky * K + kx) * N + r * V);
#pragma GCC unroll 8
        for (int o = 0; o < COUNT; o++)
          sum[o * R + r] += tap * load<V>(x + (ky * dilation * width + o * S + kx * dilation) * N + r * V);
      }
#pragma GCC unroll 8
  for (int o = 0; o < COUNT; o++)
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) store<V>(out + o * channels + r * V, sum[o * R + r]);
}

template <class T, int K, int S>
static void depthwise_of(const Loop& loop, const Window& w, const T* x, const float* weights, bool flipped, T* out) {
  Memory<float> taps(w.channels * K * K);
  take_panels<K>(weights, w.channels, flipped, taps.data());
  const long bundle = bundle_of(w);
  each_place(loop, w, [&](Memory<float>& scratch, const Place& place, auto lanes) {
    constexpr int N = decltype(lanes)::value;
    each_row<N, K, S>(scratch, w, place, bundle, x, [&](const float* row, long width, long y, long p) {
      const long channel = place.channel + p * N;
      const float* panel = taps.data() + channel * K * K;
      T* line = out + (place.picture * w.out_height + y) * w.out_width * w.channels + channel;
      in_groups(w.out_width, [&](auto count, long i) {
        outputs<N, K, S, decltype(count)::value>(row + i * S * N, width, w.dilation, panel, line + i * w.channels, w.channels);
      });
    });
  });
}

// ---------------------------------------------------------------- the gradient of the input

// At stride 2 a pixel gathers from the outputs whose windows met it: those of every second tap, and which ones is the
// same for every second pixel of a row. COUNT such pixels; `row` is the gradient's that the first of the
// ROWS x COLUMNS taps meets.
template <int N, int K, int ROWS, int COLUMNS, int COUNT, class T>
static inline void gathered(const float* row, long width, const float* weights, T* out, long step) {
  constexpr int V = LANES<N>, R = N / V;
  Floats<V> sum[COUNT * R] = {};
#pragma GCC unroll 3
  for (int ky = 0; ky < ROWS; ky++)
#pragma GCC unroll 3
    for (int kx = 0; kx < COLUMNS; kx++)
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) {
        const Floats<V> tap = load<V>(weights + (2 * ky * K + 2 * kx) * N + r * V);
#pragma GCC unroll 8
        for (int o = 0; o < COUNT; o++) sum[o * R + r] += tap * load<V>(row + (o - kx - ky * width) * N + r * V);
      }
#pragma GCC unroll 8
  for (int o = 0; o < COUNT; o++)
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) store<V>(out + o * step + r * V, sum[o * R + r]);
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
    const auto one_row = [&](long y, long channel) {
      T* line = out + (place.picture * w.height + y) * w.width * w.channels + channel;
      const long ky = (y + w.padding) & 1;
      const float* row = plane + ((y + w.padding) / 2 + MARGIN) * width * N;
      for (long x = 0; x < smaller(2, w.width); x++) {
        const long kx = (x + w.padding) & 1;
        const float* column = row + ((x + w.padding) / 2 + MARGIN) * N;
        const float* panel = taps.data() + (channel * K * K + (ky * K + kx) * N);
        with_taps<K>(ky, [&](auto rows) {
          with_taps<K>(kx, [&](auto columns) {
            in_groups((w.width - x + 1) / 2, [&](auto count, long i) {
              gathered<N, K, decltype(rows)::value, decltype(columns)::value, decltype(count)::value>(
                  column + i * N, width, panel, line + (x + 2 * i) * w.channels, 2 * w.channels);
            });
          });
        });
      }
    };
    for (long p = 0; p < place.panels; p++) {  // one after another: their planes are larger than strips
      const long channel = place.channel + p * N;
      const T* panel = gradient + place.picture * w.out_height * w.out_width * w.channels + channel;
      fill<N>(plane, 0, 1, panel, of_gradient, MARGIN, width, 0, height, place.fresh && p == 0);
      for (long y = 0; y < w.height; y++) one_row(y, channel);
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

// Adds to sums [K * K][N] those of a row of outputs; x is the first row that their windows meet. Of ROWS rows of the
// window, from row `top` on.
template <int N, int K, int S, int ROWS, class T>
static inline void correlate_rows(const float* x, long width, const Window& w, const T* gradient, int top, float* sums) {
  constexpr int V = LANES<N>;
  for (int v = 0; v < N; v += V) {
    Floats<V> sum[ROWS * K];
#pragma GCC unroll 25
    for (int k = 0; k < ROWS * K; k++) sum[k] = load<V>(sums + (top * K + k) * N + v);
    for (long i = 0; i < w.out_width; i++) {
      const Floats<V> g = load<V>(gradient + i * w.channels + v);
#pragma GCC unroll 5
      for (int ky = 0; ky < ROWS; ky++)
#pragma GCC unroll 5
        for (int kx = 0; kx < K; kx++)
          sum[ky * K + kx] += g * load<V>(x + ((top + ky) * w.dilation * width + i * S + kx * w.dilation) * N + v);
    }
#pragma GCC unroll 25
    for (int k = 0; k < ROWS * K; k++) store<V>(sums + (top * K + k) * N + v, sum[k]);
  }
}

// The same of the whole window.
template <int N, int K, int S, class T>
static inline void correlate(const float* x, long width, const Window& w, const T* gradient, float* sums) {
  constexpr int ROWS = SUMS / K < K ? SUMS / K : K;
  int top = 0;
  for (; top + ROWS <= K; top += ROWS) correlate_rows<N, K, S, ROWS>(x, width, w, gradient, top, sums);
  if constexpr (K % ROWS) correlate_rows<N, K, S, K % ROWS>(x, width, w, gradient, top, sums);
}

// Each part of the pictures by itself, then their sum in one order: the threads' number changes nothing.
template <class T, int K, int S>
static void depthwise_weights_of(const Loop& loop, const Window& w, const T* gradient, const T* x, float* out) {
  const Shares shares(w);
  const long count = shares.parts, size = w.channels * K * K;
  Memory<float> parts(count * size);
  std::memset(parts.data(), 0, count * size * sizeof(float));
  each_place(loop, w, [&](Memory<float>& scratch, const Place& place, auto lanes) {
    constexpr int N = decltype(lanes)::value;
    each_row<N, K, S>(scratch, w, place, shares.bundle, x, [&](const float* row, long width, long y, long p) {
      const long channel = place.channel + p * N;
      const T* line = gradient + (place.picture * w.out_height + y) * w.out_width * w.channels + channel;
      correlate<N, K, S>(row, width, w, line, parts.data() + place.part * size + channel * K * K);
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
