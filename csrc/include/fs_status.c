#include "fs_status.h"

const char *fs_status_text(int code)
{
    switch (code) {
#define FS_STATUS_CASE(name, value, text) \
    case name:                            \
        return text;
        FS_STATUS_LIST(FS_STATUS_CASE)
#undef FS_STATUS_CASE
    }
    return "unknown status";
}
