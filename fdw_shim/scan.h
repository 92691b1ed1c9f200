/*-------------------------------------------------------------------------
 *
 * scan.h
 *		What the files that execute a scan share, and nobody else needs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HALLWAY_SCAN_H
#define HALLWAY_SCAN_H

#include "hallway.h"

/* The expressions of a scan whose values travel, ready to be evaluated. */
typedef struct HallwayScanExprs
{
	bool		ready;
	List	   *params;			/* ExprStates of the parameters */
	ExprState  *count;			/* of LIMIT and OFFSET; NULL: not there */
	ExprState  *offset;
} HallwayScanExprs;

/* Makes them ready, once; they live as long as the query. */
extern void hallway_request_init(ForeignScanState *node, const HallwayScanPlan *plan,
								 HallwayScanExprs *out);
/* The request with their values, in the current memory context. */
extern Hallway__V1__ScanRequest *hallway_request_build(ForeignScanState *node,
													   const HallwayScanPlan *plan,
													   const HallwayScanExprs *exprs);
/* The same for EXPLAIN: values that only running the query gives are NULL pointers. */
extern Hallway__V1__ScanRequest *hallway_request_foresee(ForeignScanState *node,
														 const HallwayScanPlan *plan,
														 const HallwayScanExprs *exprs);
/* Whether two requests of one scan ask for the same rows. */
extern bool hallway_request_same(const Hallway__V1__ScanRequest *a,
								 const Hallway__V1__ScanRequest *b);
/* Are there values that only running the query gives? */
extern bool hallway_request_needs_running(ForeignScanState *node);

/* Nothing ends the scan, as part of what runs now, before its last row. */
extern bool hallway_reads_whole(ForeignScanState *node);

/* ---- scan.c: for upper.c, of the scan that reads the rows --------------------- */

/* The table is cached, so that rows may come from there. */
extern bool hallway_scan_caches(ForeignScanState *node);
/* It would read them from there, if it were run now. */
extern bool hallway_scan_would_hit(ForeignScanState *node);
/* The same for EXPLAIN, which has not all values. */
extern bool hallway_scan_foresees_hit(ForeignScanState *node);
extern void hallway_add_stats(Hallway__V1__ScanStats *sum, const Hallway__V1__ScanStats *stats);

/* ---- upper.c: the callbacks of a node that gives groups ----------------------- */

/* Whether a node does: no relation of the query is its own. */
static inline bool
hallway_is_upper(ForeignScanState *node)
{
	return ((Scan *) node->ss.ps.plan)->scanrelid == 0;
}

extern void hallway_upper_begin(ForeignScanState *node);
extern TupleTableSlot *hallway_upper_iterate(ForeignScanState *node);
extern void hallway_upper_rescan(ForeignScanState *node);
extern void hallway_upper_end(ForeignScanState *node);
extern void hallway_upper_explain(ForeignScanState *node, struct ExplainState *es);

/* explain.c */
extern void hallway_explain_stats(const Hallway__V1__ScanStats *stats, struct ExplainState *es);

#endif							/* HALLWAY_SCAN_H */
