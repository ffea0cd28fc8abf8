/* Status codes of every fallible function in csrc: FS_OK, FS_AGAIN, or a negative error.
 * One list drives the C names, the Cython mapping to exceptions and the texts. */
#ifndef FS_STATUS_H
#define FS_STATUS_H

/* X(name, value, text): the text is what a user reads after "peer: " or "local: ". */
/* clang-format off */
#define FS_STATUS_LIST(X)                                                                     \
    X(FS_OK, 0, "success")                                                                    \
    X(FS_AGAIN, 1, "more input or output room is needed")                                     \
    X(FS_E_LENGTH, -1, "packet length out of range")                                          \
    X(FS_E_PADDING, -2, "packet padding out of range")                                        \
    X(FS_E_MAC, -3, "message authentication code incorrect")                                  \
    X(FS_E_SEQUENCE, -4, "sequence number would wrap before a rekey")                         \
    X(FS_E_MALFORMED, -5, "malformed message")                                                \
    X(FS_E_STATE, -6, "message not allowed in this state")                                    \
    X(FS_E_CHANNEL, -7, "message for a channel that is not open")                             \
    X(FS_E_WINDOW, -8, "channel window or packet size exceeded")                              \
    X(FS_E_SFTP, -9, "malformed SFTP reply")                                                  \
    X(FS_E_REQUEST_ID, -10, "SFTP reply to an unknown request")                               \
    X(FS_E_ARGUMENT, -11, "invalid argument")                                                 \
    X(FS_E_NO_MEMORY, -12, "out of memory")                                                   \
    X(FS_E_CRYPTO, -13, "libcrypto reported a failure")                                       \
    X(FS_E_SYSTEM, -14, "system call failed")                                                 \
    X(FS_E_QUEUE, -15, "queue limit reached")                                                 \
    X(FS_E_COMPRESSION, -16, "compressed data is corrupt or expands too far")
/* clang-format on */

#define FS_STATUS_ENUM(name, value, text) name = value,
typedef enum fs_status { FS_STATUS_LIST(FS_STATUS_ENUM) } fs_status;
#undef FS_STATUS_ENUM

/* The text of a code; never NULL. */
const char *fs_status_text(int code);

#endif
