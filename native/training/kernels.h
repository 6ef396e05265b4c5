// The list of training kernels: what each instruction set provides and what the tests go through.
//
// Arrays are channels last. `half`: they hold bfloat16; otherwise float32. Weights, sums and scales are
// always float. Results do not depend on the number of threads.
#pragma once

#include "../layers.h"

namespace hswish::training {

// (N, H, W, C) to (N, out_height, out_width, C); C a multiple of 8, kernel 3 or 5, stride 1 or 2 (then undilated).
struct Window {
  long pictures, channels, height, width, kernel, stride, dilation, padding, out_height, out_width;
};

// y = act(scale[c] x + shift[c]) over (rows, channels): batch norm and non-linearity in one.
struct Affine {
  Act act;
  long rows, channels;
  const float *scale, *shift;
};

// (pictures, pixels, C), C a multiple of 8: what squeeze-and-excitation sums and scales picture by picture.
struct Pictures {
  long pictures, pixels, channels;
};

// Runs call(work, index) for every index below `count`, by several threads. (A template of threads.h would be
// compiled for every instruction set, and the linker would keep one.)
struct Loop {
  void* threads;
  void (*run)(void* threads, long count, void (*call)(const void* work, long index), const void* work);

  template <class Work>
  void operator()(long count, const Work& work) const {
    run(threads, count, [](const void* w, long index) { (*static_cast<const Work*>(w))(index); }, &work);
  }
};

struct Kernels {
  const char* name;

  // Depthwise convolution and its two gradients; weights (C, kernel, kernel).
  void (*depthwise)(const Loop&, bool half, const Window&, const void* x, const float* weights, void* out);
  void (*depthwise_input)(const Loop&, bool half, const Window&, const void* gradient, const float* weights, void* out);
  void (*depthwise_weights)(const Loop&, bool half, const Window&, const void* gradient, const void* x, float* out);

  // sums[0][c] = sum of x, sums[1][c] = sum of squares.
  void (*moments)(const Loop&, bool half, long rows, long channels, const void* x, double* sums);
  void (*affine)(const Loop&, bool half, const Affine&, const void* x, void* out);
  // With z = scale x + shift and g = gradient act'(z): sums[0] = sum of g, sums[1] = sum of g x.
  void (*affine_sums)(const Loop&, bool half, const Affine&, const void* gradient, const void* x, double* sums);
  // scale g + slope[c] x + offset[c]: what batch norm hands down.
  void (*affine_input)(const Loop&, bool half, const Affine&, const void* gradient, const void* x, const float* slope,
                       const float* offset, void* out);

  // sums[picture][c] = sum over the pixels of x, or of gradient x.
  void (*picture_sums)(const Loop&, bool half, const Pictures&, const void* x, float* sums);
  void (*picture_products)(const Loop&, bool half, const Pictures&, const void* gradient, const void* x, float* sums);
  // gates[picture][c] x + offsets[picture][c].
  void (*gate)(const Loop&, bool half, const Pictures&, const void* x, const float* gates, const float* offsets, void* out);
};

}  // namespace hswish::training

namespace hswish {
namespace generic::training { extern const hswish::training::Kernels table; }
namespace avx2::training { extern const hswish::training::Kernels table; }
namespace avx512::training { extern const hswish::training::Kernels table; }
namespace avx512bf16::training { extern const hswish::training::Kernels table; }
namespace neon::training { extern const hswish::training::Kernels table; }
}  // namespace hswish
