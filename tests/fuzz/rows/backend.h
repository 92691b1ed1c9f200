/*-------------------------------------------------------------------------
 *
 * backend.h
 *		What fuzz.c asks of the stand-in for a server, beyond PostgreSQL's own
 *		headers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef FUZZ_BACKEND_H
#define FUZZ_BACKEND_H

#include <setjmp.h>

#include "executor/tuptable.h"
#include "nodes/pg_list.h"

/* Types that no catalog knows. */
#define FUZZ_ENUM			((Oid) 90001)
#define FUZZ_DOMAIN			((Oid) 90002)	/* over text, refuses NULL */
#define FUZZ_DOMAIN_ARRAY	((Oid) 90003)

/* Where ereport(ERROR) goes. */
extern sigjmp_buf fuzz_error;

extern void fuzz_begin(void);
extern void fuzz_end(void);		/* frees everything since fuzz_begin() */
extern void fuzz_set_encoding(int encoding);
extern TupleTableSlot *fuzz_slot(TupleDesc desc);
extern List *fuzz_list(int n);	/* 1 .. n */
extern int16 fuzz_type_len(Oid type);

#endif							/* FUZZ_BACKEND_H */
