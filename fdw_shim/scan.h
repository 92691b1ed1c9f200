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

#endif							/* HALLWAY_SCAN_H */
