#include "wal/defects.h"

#ifdef WAL_PLANTED_DEFECTS
enum wal_defect_id wal_defect_on = DEFECT_NONE;
#else
/* ISO C wants something in every translation unit. */
typedef int defects_are_off;
#endif
