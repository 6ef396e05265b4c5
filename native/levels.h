// Which instruction sets this build has kernels for, and which of them this processor can run.
#pragma once

#include <vector>

#include "plan.h"

namespace hswish {

struct Level {
  const Kernels* kernels;
  bool runs_here;
};

// From the plainest to the widest.
inline std::vector<Level> levels() {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  return {{&generic::table, true}, {&avx2::table, avx2}, {&avx512::table, avx512}};
#elif defined(__aarch64__)
  return {{&generic::table, true}, {&neon::table, true}};
#else
  return {{&generic::table, true}};
#endif
}

inline const Kernels& level(const std::string& name) {
  for (const Level& level : levels())
    if (name == level.kernels->name) {
      require(level.runs_here, "this processor cannot run " + name);
      return *level.kernels;
    }
  throw std::invalid_argument("no kernels for " + name);
}

}  // namespace hswish
