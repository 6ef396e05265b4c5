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
static inline void add(double* sums, Floats<N> v) {
  float few[N];
  store<N>(few, v);
  for (int i = 0; i < N; i++) sums[i] += few[i];
}

template <int N>
static inline Floats<N> splat(float x) {
  return x - Floats<N>{};
}

// step(first channel, how many as a constant) over a multiple of 8 channels.
template <class Step>
static inline void each_vector(long channels, const Step& step) {
  long c = 0;
  for (; c + 16 <= channels; c += 16) step(c, std::integral_constant<int, 16>());
  if (c < channels) step(c, std::integral_constant<int, 8>());
}

// step(first channel, lanes of a vector, how many vectors) likewise, most of them by whole cache lines.
template <class Step>
static inline void each_line(long channels, const Step& step) {
  long c = 0;
  for (; c + 64 <= channels; c += 64) step(c, std::integral_constant<int, 16>(), std::integral_constant<int, 4>());
  for (; c + 16 <= channels; c += 16) step(c, std::integral_constant<int, 16>(), std::integral_constant<int, 1>());
  if (c < channels) step(c, std::integral_constant<int, 8>(), std::integral_constant<int, 1>());
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

}  // namespace hswish::HSWISH_LEVEL::training
