// Numbers as training stores them, float32 or bfloat16, and as it computes with them: vectors of floats.
//
// As in vec.h everything is static and in the level's own namespace, and none of the standard library's
// templates is used.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace hswish::HSWISH_LEVEL::training {

typedef uint16_t bf16;  // the upper half of a float

// Floats in a register. The compiler keeps vectors wider than that in memory.
#if defined(__AVX512F__)
constexpr int WIDEST = 16;
#elif defined(__AVX2__)
constexpr int WIDEST = 8;
#else
constexpr int WIDEST = 4;
#endif

template <int N>
struct Lanes;
template <>
struct Lanes<16> {
  typedef float floats __attribute__((vector_size(64)));
  typedef uint32_t words __attribute__((vector_size(64)));
  typedef uint16_t halves __attribute__((vector_size(32)));
};
template <>
struct Lanes<8> {
  typedef float floats __attribute__((vector_size(32)));
  typedef uint32_t words __attribute__((vector_size(32)));
  typedef uint16_t halves __attribute__((vector_size(16)));
};
template <>
struct Lanes<4> {
  typedef float floats __attribute__((vector_size(16)));
  typedef uint32_t words __attribute__((vector_size(16)));
  typedef uint16_t halves __attribute__((vector_size(8)));
};

template <int N>
using Floats = typename Lanes<N>::floats;

template <int N>
static inline Floats<N> load(const float* p) {
  Floats<N> v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

template <int N>
static inline Floats<N> load(const bf16* p) {
  typename Lanes<N>::halves half;
  std::memcpy(&half, p, sizeof(half));
  return (Floats<N>)(__builtin_convertvector(half, typename Lanes<N>::words) << 16);
}

template <int N>
static inline void store(float* p, Floats<N> v) {
  std::memcpy(p, &v, sizeof(v));
}

// Rounded to the nearest, to the even one of two; what is not a number stays so.
template <int N>
static inline void store(bf16* p, Floats<N> v) {
#if defined(__AVX512BF16__)  // by one instruction, which makes zero of what is below 2^-126
  if constexpr (N == 16) {
    const auto half = _mm512_cvtneps_pbh((__m512)v);
    std::memcpy(p, &half, sizeof(half));
  } else {
    const auto half = _mm256_cvtneps_pbh((__m256)v);
    std::memcpy(p, &half, sizeof(half));
  }
#else
  typedef typename Lanes<N>::words Words;
  const Words bits = (Words)v;
  const Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Words quiet = (bits >> 16) | 0x40u;
  const Words is_nan = (Words)((bits & 0x7fffffffu) > 0x7f800000u);
  const auto half = __builtin_convertvector((is_nan & quiet) | (~is_nan & rounded), typename Lanes<N>::halves);
  std::memcpy(p, &half, sizeof(half));
#endif
}

template <int N>
static inline Floats<N> splat(float x) {
  return x - Floats<N>{};
}

// step(first channel, how many as a constant) over a multiple of 8 channels.
template <class Step>
static inline void each_vector(long channels, const Step& step) {
  long c = 0;
  for (; c + WIDEST <= channels; c += WIDEST) step(c, std::integral_constant<int, WIDEST>());
  if constexpr (WIDEST > 8)
    if (c < channels) step(c, std::integral_constant<int, 8>());
}

constexpr long FEWEST_ROWS = 64;  // so many are summed as floats; doubles take over from there

static inline long larger(long a, long b) { return a > b ? a : b; }
static inline long smaller(long a, long b) { return a < b ? a : b; }

// Memory that begins at a cache line.
template <class T>
class Memory {
 public:
  Memory() = default;
  explicit Memory(long count) { at_least(count); }
  ~Memory() { std::free(data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  T* at_least(long count) {
    if (count > count_) {
      std::free(data_);
      count_ = 0;
      data_ = static_cast<T*>(std::aligned_alloc(64, (count * sizeof(T) + 63) / 64 * 64));
      if (!data_) throw std::bad_alloc();
      count_ = count;
    }
    return data_;
  }

  T* data() { return data_; }

 private:
  T* data_ = nullptr;
  long count_ = 0;
};

// Adds to totals [SUMS][channels] what terms(row, channel, lanes, vectors [SUMS]) adds up over some rows: floats over a
// few rows, doubles over those. Memory is read in its order, four rows beside each other.
template <int SUMS, class Terms>
static void add_rows(long first, long last, long channels, double* totals, const Terms& terms) {
  static thread_local Memory<float> memory;
  float* const few = memory.at_least(SUMS * channels);
  for (long start = first; start < last; start += FEWEST_ROWS) {
    const long end = smaller(last, start + FEWEST_ROWS);
    std::memset(few, 0, SUMS * channels * sizeof(float));
    const auto rows_from = [&](long row, auto count) {
      each_vector(channels, [&](long c, auto lanes) {
        constexpr int N = decltype(lanes)::value;
        Floats<N> sum[SUMS];
        for (int s = 0; s < SUMS; s++) sum[s] = load<N>(few + s * channels + c);
#pragma GCC unroll 4
        for (int r = 0; r < decltype(count)::value; r++) terms(row + r, c, lanes, sum);
        for (int s = 0; s < SUMS; s++) store<N>(few + s * channels + c, sum[s]);
      });
    };
    long row = start;
    for (; row + 4 <= end; row += 4) rows_from(row, std::integral_constant<int, 4>());
    for (; row < end; row++) rows_from(row, std::integral_constant<int, 1>());
    for (long c = 0; c < SUMS * channels; c++) totals[c] += few[c];
  }
}

}  // namespace hswish::HSWISH_LEVEL::training
