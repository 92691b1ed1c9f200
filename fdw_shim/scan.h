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

/* A scan of a foreign table; scan.c has its life. */
typedef struct HallwayScanState
{
	HallwayScanPlan plan;
	Oid			userid;			/* whose credential is used */
	TupleTableSlot *slot;		/* virtual: the rows are read into it */
	bool		system_columns; /* a row's are looked at */

	/* Made when first needed. */
	HallwayScanExprs exprs;
	ExprState **quals;			/* of single fdw_recheck_quals; NULL: not yet */

	/* The cache, if the plan allows it, and whether this run reads it. */
	struct HallwayCacheScan *cache;
	bool		hit;
	ExprState  *own_qual;		/* what the node checks of the API's rows */
	char	   *filled;			/* what became of the last miss; NULL: not told */

	/* The request that runs, or ran; NULL: none since the last rescan. */
	MemoryContext context;		/* holds request and fetch */
	Hallway__V1__ScanRequest *request;
	HallwayFetch *fetch;
	bool		header_read;	/* active is right for this request */
	int			nactive;
	ExprState **active;			/* quals that must be checked for each row */

	bool		rescanned;		/* the next row is the first one again */
	bool		params_changed; /* and parameters may differ */
	bool		nonblocking;
	bool		starved;

	/*
	 * Only when the statement writes to the same API: its rows are all read
	 * before the first one is handed out. Pages asked for after a write would
	 * miss rows, or have rows again that were changed.
	 */
	bool		read_ahead;
	bool		read_whole;		/* store holds all there is */
	struct Tuplestorestate *store;
	TupleTableSlot *stored;		/* of minimal tuples, for store */

	/* For EXPLAIN ANALYZE; over all rescans. */
	MemoryContext query_context;
	Hallway__V1__ScanHeader *header;	/* of the first request */
	Hallway__V1__ScanStats stats;
	bool		has_stats;
	bool		stats_taken;	/* of the current fetch */
} HallwayScanState;

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

/* ---- scan.c, for the files about a scan that follow --------------------------- */

/* Rows are coming: from the cache, or of a request. */
static inline bool
hallway_scan_started(const HallwayScanState *state)
{
	return state->hit || state->fetch != NULL;
}

/* The next row that belongs to the result; an empty slot at the end, or if starved. */
extern TupleTableSlot *hallway_scan_next(ForeignScanState *node);

/* ---- scan_ahead.c --------------------------------------------------------------- */

/* Does the statement write to the server that is scanned? */
extern bool hallway_scan_writes_to_server(ForeignScanState *node);
/* The next API's row, once all of them have been read. */
extern TupleTableSlot *hallway_scan_next_stored(ForeignScanState *node);
/* Rows are read again, or never. */
extern void hallway_scan_forget_stored(HallwayScanState *state);

/* ---- scan_explain.c; for upper.c, of the scan that reads the rows ------------- */

/* Adds a request's figures to the scan's, when no more of its rows are wanted. */
extern void hallway_scan_take_stats(HallwayScanState *state);
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
