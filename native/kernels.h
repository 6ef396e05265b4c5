// The list of kernels: what each instruction set provides, what dispatch chooses from, what is tested.
//
// tests/runtime/native/test_kernels.py and test_bf16_kernels.py read it and ask for a test of every entry.
#pragma once

#include "layers.h"

namespace hswish {

// What depends on how maps and weights are stored (T): as floats, or as halves of them.
template <class T>
struct MapKernels {
  const char* name;
  long panel;  // output channels in a panel of packed weights

  // Output channels [first, first + panel) of `pixels` pixels, channels last; residual may be null.
  void (*pointwise)(const PointwiseOf<T>&, Act, long first, const T* x, long x_stride, T* out, long out_stride,
                    const T* residual, long pixels);
  // Expansion and depthwise, strip by strip; goes on from `state`.
  void (*block_rows)(const BlockRowsOf<T>&, BlockState& state);
  long (*block_work)(const Depthwise&, const Geometry&);  // floats of `work`
  // One row of the stem's output, (out_width, n).
  void (*stem_row)(const Stem&, Act, const Geometry&, const Picture& x, long row, T* out, float* work);
  long (*stem_work)(const Stem&, const Geometry&);

  // Squeeze-and-excitation. x[p][c] = act(x[p][c] * gate[c]); out[k][:] = w[k][:] * gate[k], for packed weights;
  // out[c] = mean over a window of (rows, columns) pixels.
  void (*scale)(T* x, const float* gate, long channels, long pixels, Act);
  void (*scale_panel)(T* out, const T* w, const float* gate, long k, long width);
  void (*mean)(const T* x, long channels, long rows, long columns, long row_stride, float* out);
  // One row: out * (x resized).
  void (*upsample_multiply_row)(const Axis& down, const Axis& across, long row, const float* x, long width,
                                long channels, T* out);

  // Multiply-adds that touch only registers, to time what the processor can do at most; returns how many.
  long (*multiply_adds)(long rounds, float* sum);
};

struct Kernels : MapKernels<float> {
  void (*h_sigmoid)(float* x, long n);
  // Bilinear resizes, a row each: act(out + resized); and of planes (used, height, width): to planes of logits;
  // to a mask of the highest class.
  void (*upsample_add_row)(const Axis& down, const Axis& across, long row, const float* x, long width, long channels,
                           Act, float* out);
  void (*upsample_planes_row)(const Axis& down, const Axis& across, long row, const float* x, long height, long width,
                              long used, float* out, float* work);
  void (*upsample_mask_row)(const Axis& down, const Axis& across, long row, const float* x, long height, long width,
                            long used, uint8_t* out, float* work);
};

// For processors that multiply halves. What is small stays in floats: squeezed vectors, class scores.
struct Bf16Kernels : MapKernels<Bf16> {
  // `pointwise` from a map to floats, and from vectors of floats to floats.
  void (*pointwise_floats)(const PointwiseOf<Bf16>&, Act, long first, const Bf16* x, long x_stride, float* out,
                           long out_stride, long pixels);
  void (*linear)(const PointwiseOf<Bf16>&, Act, long first, const float* x, long x_stride, float* out, long out_stride,
                 long pixels);
  // out[i] = the half nearest to x[i]; n a multiple of 8.
  void (*to_halves)(const float* x, long n, Bf16* out);
};

// One for each instruction set; a build holds those of its processor family.
namespace generic { extern const Kernels table; }
namespace avx2 { extern const Kernels table; }
namespace avx512 { extern const Kernels table; }
namespace neon { extern const Kernels table; }
namespace avx512bf16 { extern const Bf16Kernels table; }
namespace amx { extern const Bf16Kernels table; }

}  // namespace hswish
