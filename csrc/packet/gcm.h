/* Which AES-GCM serves new sealers and openers. Internal to csrc/packet. */
#ifndef FS_PACKET_GCM_H
#define FS_PACKET_GCM_H

#include "aesgcm.h"

/* The kernel of our own that is selected, or NULL for libcrypto. */
const fs_aesgcm_impl *fs_gcm_kernel(void);

#endif
