// Which instruction sets this build has kernels for, and which of them this processor can run.
#pragma once

#include <vector>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if defined(HSWISH_AMX) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "plan.h"

namespace hswish {

#if defined(__x86_64__)
// What __builtin_cpu_supports does not know with older compilers.
inline bool have_avxvnni() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4));
}
#endif

#if defined(HSWISH_AMX) && defined(__linux__)
// Whether the processor multiplies halves in tile registers and the system lets this process have them: it has to
// be asked, because their 8 KB are saved with each thread.
inline bool have_tiles() {
  constexpr unsigned bf16 = 1u << 22, tile = 1u << 24;  // of leaf 7, edx
  constexpr int request = 0x1023, tile_data = 18;       // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & bf16) && (d & tile) &&
         syscall(SYS_arch_prctl, request, tile_data) == 0;
}
#endif

// From the plainest to the widest. `avxvnni`, `avx512vnni` and `neondot` differ from the level before in their 8-bit kernels,
// which sum four products by one instruction. `avx512vbmi` also moves bytes by one, and multiplies halves where the
// processor does; `avx512amx` multiplies halves in tile registers.
inline const std::vector<Level>& levels() {
#if defined(__x86_64__)
  static const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  static const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  static const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
  static const bool vbmi = vnni && __builtin_cpu_supports("avx512vbmi");
  static const bool bf16 = vbmi && __builtin_cpu_supports("avx512bf16");
  static const std::vector<Level> all = {{"generic", &generic::table, &generic::int8_table, &generic::mask_table, true},
                                         {"avx2", &avx2::table, &avx2::int8_table, &avx2::mask_table, avx2},
#if defined(HSWISH_AVXVNNI)
                                         {"avxvnni", &avx2::table, &avxvnni::int8_table, &avx2::mask_table,
                                          avx2 && have_avxvnni()},
#endif
                                         {"avx512", &avx512::table, &avx512::int8_table, &avx512::mask_table, avx512},
                                         {"avx512vnni", &avx512::table, &avx512vnni::int8_table, &avx512::mask_table,
                                          vnni},
                                         {"avx512vbmi", &avx512::table, &avx512vbmi::int8_table, &avx512::mask_table,
                                          vbmi, bf16 ? &avx512bf16::table : nullptr},
#if defined(HSWISH_AMX) && defined(__linux__)
                                         {"avx512amx", &avx512::table, &avx512vbmi::int8_table, &avx512::mask_table,
                                          bf16 && have_tiles(), &amx::table},
#endif
  };
#elif defined(__aarch64__)
#if defined(__linux__)
  static const bool dot = getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#else
  static const bool dot = true;  // every ARM processor of Apple's
#endif
  static const std::vector<Level> all = {{"generic", &generic::table, &generic::int8_table, &generic::mask_table, true},
                                         {"neon", &neon::table, &neon::int8_table, &neon::mask_table, true},
                                         {"neondot", &neon::table, &neondot::int8_table, &neon::mask_table, dot}};
#else
  static const std::vector<Level> all = {{"generic", &generic::table, &generic::int8_table, &generic::mask_table, true}};
#endif
  return all;
}

inline const Level& level(const std::string& name) {
  for (const Level& level : levels())
    if (name == level.name) {
      require(level.runs_here, "this processor cannot run " + name);
      return level;
    }
  throw std::invalid_argument("no kernels for " + name);
}

}  // namespace hswish
