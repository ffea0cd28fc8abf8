/* What the x86-64 kernels and their dispatcher share. */
#ifndef FS_AESGCM_X86_H
#define FS_AESGCM_X86_H

#include "aesgcm.h"

#if defined(__x86_64__)

extern const fs_aesgcm_impl fs_aesgcm_vaes_avx2, fs_aesgcm_vaes_avx512;

/* CPUID reports every extension the kernel is compiled for and XCR0 says that the system saves its registers. */
int fs_aesgcm_has_vaes_avx2(void);
int fs_aesgcm_has_vaes_avx512(void);

#endif

#endif
