/*-------------------------------------------------------------------------
 *
 * cache.h
 *		What the files that read the cache share: cache_*.c, and those that plan,
 *		execute and explain scans.
 *
 * The sidecar fills cache tables; here they are only read. Whether one may be is
 * decided at execution, for the user as whom the scan runs, under the snapshot
 * under which it then is read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HALLWAY_CACHE_H
#define HALLWAY_CACHE_H

#include "executor/execdesc.h"
#include "nodes/plannodes.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

#include "hallway.h"
#include "plan.h"

/* ---- cache_region.c: what is in the cache ---------------------------------- */

/* A scan's conjuncts that the API executes; with more there is no region. */
#define HALLWAY_MAX_CONJUNCTS 32

/*
 * Conjuncts with their values in the form in which regions are compared. They
 * are numbered as in HallwayCachePlan; a set of them is a mask.
 */
typedef struct HallwayConjuncts
{
	int			n;
	uint32		known;			/* mask: the others' values are not known yet */
	bytea	  **bytes;			/* of each */
	int		   *order;			/* their numbers, sorted by bytes */
} HallwayConjuncts;

/* A cache table of a relation for the account of its user. */
typedef struct HallwayCacheTable
{
	int64		id;
	Oid			relid;
	Oid			serverid;
	bool		replica;
	bool		whole;			/* a replica that shows the API as of as_of */
	TimestampTz as_of;
} HallwayCacheTable;

typedef struct HallwayRegion
{
	uint32		mask;			/* the conjuncts it was found by */
	int64		hash;			/* 0 of a replica */
	bool		all_rows;
	TimestampTz fetched_at;
	char	   *shown;			/* the condition, if asked for: in the current context */
} HallwayRegion;

/* A conjunct's form without values: its parameters are those listed. */
extern bytea *hallway_conjunct_shape(Hallway__V1__Expr *expr, List *parameters);
/* One with its values: of count parameters, which are exprs, from first. */
extern bytea *hallway_conjunct_bytes(const bytea *shape, Hallway__V1__Value **parameters,
									 List *exprs, int first, int count);
extern void hallway_sort_conjuncts(HallwayConjuncts *conjuncts);
/* The canonical form of the conjuncts in mask, and its hash. */
extern bytea *hallway_predicate(const HallwayConjuncts *conjuncts, uint32 mask, int64 *hash);

/*
 * The cache table as the snapshot shows it, locked against DROP until the
 * transaction ends; false: none that fits the relation. *why says why then.
 */
extern bool hallway_cache_table(HallwayRelation *relation, Relation rel, Snapshot snapshot,
								HallwayCacheTable *out, const char **why);
/*
 * The region of exactly the conjuncts in mask, if its columns are a superset of
 * needed (column indexes).
 */
extern bool hallway_cache_region(const HallwayCacheTable *table, Bitmapset *needed,
								 const HallwayConjuncts *conjuncts, uint32 mask,
								 Snapshot snapshot, bool describe, HallwayRegion *out);

/* ---- cache_plan.c, cache_query.c: the plan that reads a cache table --------- */

/* HallwayScanPlan.cache unpacked. */
typedef struct HallwayCachePlan
{
	uint64		id;				/* of the plan; equal in its copies */
	List	   *shapes;			/* of Const: bytea, of each pushed conjunct */
	List	   *conjuncts;		/* of int: its index in the plan */
	List	   *first;			/* of int: its first parameter, and how many */
	List	   *nparams;
	List	   *levels;			/* of int: security levels of plan.qual */
	List	   *exact_levels;	/* and of fdw_recheck_quals */
	List	   *sort;			/* the order relied on: OidLists, see SortPrivate */
} HallwayCachePlan;

/* Positions in a sort key; not all of them are OIDs. */
enum SortPrivate
{
	SORT_ATTNUM,
	SORT_OPERATOR,
	SORT_EQUALITY,
	SORT_TYPE,					/* as which it is compared */
	SORT_COLLATION,
	SORT_DESCENDING,
	SORT_NULLS_FIRST
};

/* For fdw_private; NIL if the table is not to be cached. */
extern List *hallway_cache_private(TablePlanning *state, PlanCall *call, RelOptInfo *baserel,
								   List *levels, List *exact_levels, int ordering);
/* False: no cache. */
extern bool hallway_cache_plan(const HallwayScanPlan *plan, HallwayCachePlan *out);

/* A plan over a cache table that gives what the foreign scan would. */
typedef struct HallwayInnerPlan
{
	PlannedStmt *stmt;
	List	   *params;			/* Params of the foreign scan, by number of those of stmt */
	bool		all_inside;		/* no qual is left for the foreign scan to check */
} HallwayInnerPlan;

/* Valid until the end of the transaction; NULL: it cannot be read in its place. */
extern const HallwayInnerPlan *hallway_inner_plan(ForeignScanState *node,
												  const HallwayScanPlan *plan,
												  const HallwayCachePlan *cache,
												  Oid cache_relid);
/*
 * cache_query.c: plans it. out->stmt stays NULL if a condition has no counterpart
 * over the cache table.
 */
extern void hallway_make_inner_plan(ForeignScanState *node, const HallwayScanPlan *plan,
									const HallwayCachePlan *cache, Oid cache_relid,
									HallwayInnerPlan *out);

/* ---- cache_scan.c: choosing and reading ------------------------------------ */

typedef enum HallwayCacheOutcome
{
	CACHE_LIVE,					/* the API is read, and nothing kept */
	CACHE_MISS,					/* the API is read, and the rows are kept */
	CACHE_HIT
} HallwayCacheOutcome;

typedef struct HallwayCacheScan HallwayCacheScan;

/* NULL if the scan's plan says that there is no cache. */
extern HallwayCacheScan *hallway_cache_begin(ForeignScanState *node,
											 const HallwayScanPlan *plan, Oid userid,
											 bool feeds_write);
/*
 * Where to read this time. On a hit the inner plan runs from its first row; on a
 * miss, request->fill and *attnums (what is to be fetched) are filled in.
 */
extern HallwayCacheOutcome hallway_cache_start(HallwayCacheScan *cache,
											   Hallway__V1__ScanRequest *request,
											   List **attnums);
/* Whether it would be a hit, if it began now. */
extern bool hallway_cache_would_hit(HallwayCacheScan *cache, Hallway__V1__ScanRequest *request);
/* A hit's first row again; false: the region may be another one now. */
extern bool hallway_cache_rescan(HallwayCacheScan *cache, bool params_changed);
extern TupleTableSlot *hallway_cache_next(HallwayCacheScan *cache);
/* Old rows may do where the API cannot be read. */
extern bool hallway_cache_tolerates(const HallwayCacheScan *cache);
/* After such an error, before the first row: true if there are, read from now on. */
extern bool hallway_cache_rescue(HallwayCacheScan *cache, const Hallway__V1__Error *error);
/* No qual is left for the node itself to check. */
extern bool hallway_cache_checks_all(const HallwayCacheScan *cache);
extern void hallway_cache_end(HallwayCacheScan *cache);

/* ERROR where hallway.read_from forbids to read the API. */
extern void hallway_cache_insist(Relation rel, const char *why, bool can_fill);
/* For the planner: there are all rows, with all columns, and fresh. */
extern bool hallway_cache_all_rows(HallwayRelation *relation, const HallwayCacheTable *table,
								   Snapshot snapshot);

/*
 * For EXPLAIN without ANALYZE: what would be chosen; true: a hit. Of a request
 * that lacks values, no region is looked for that depends on them.
 */
extern bool hallway_cache_foresee(HallwayCacheScan *cache, Hallway__V1__ScanRequest *request);
/* What was chosen to be fetched: after a miss, what is to be kept, too. */
extern List *hallway_cache_attnums(const HallwayCacheScan *cache);
/*
 * After a choice; filled is what the sidecar said of it, or "". True: a hit, so
 * that there is an inner plan to show, too.
 */
extern bool hallway_cache_explain(HallwayCacheScan *cache, const char *filled,
								  struct ExplainState *es);
extern void hallway_cache_explain_inner(HallwayCacheScan *cache, struct ExplainState *es);

/* ---- cache_session.c: own writes, and regions in use ------------------------ */

/*
 * True if what a snapshot taken at taken shows of the cache includes this
 * session's writes to the relation's server. May ask the sidecar, and wait a
 * little; so a new snapshot is taken afterwards.
 */
extern bool hallway_writes_settled(HallwayRelation *relation, TimestampTz taken);
extern void hallway_touch(HallwayRelation *relation, int64 cache_id, int64 hash);

/* ---- explain.c --------------------------------------------------------------- */

/* Shows the plan of an executor as a group of the node that is explained. */
extern void hallway_explain_inner(const char *label, QueryDesc *desc, struct ExplainState *es);

/* ---- cache_cost.c: a cached table for the planner --------------------------- */

/* Fills in state->cached and baserel's size if a fresh cache has all rows. */
extern void hallway_cache_cost(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state);
/* The rows and costs of call then; unique: it has one row at most. */
extern void hallway_cache_estimate(PlannerInfo *root, RelOptInfo *baserel,
								   TablePlanning *state, PlanCall *call, bool unique);
extern Cost hallway_cache_sort_cost(TablePlanning *state, PlanCall *call,
									RelOptInfo *baserel, List *pathkeys);

#endif							/* HALLWAY_CACHE_H */
