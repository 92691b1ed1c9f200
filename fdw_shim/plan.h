/*-------------------------------------------------------------------------
 *
 * plan.h
 *		What plan.c, paths.c and plan_cache.c share while one query is planned.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HALLWAY_PLAN_H
#define HALLWAY_PLAN_H

#include "postgres.h"

#include "nodes/pathnodes.h"

#include "hallway.h"

/* Stands in RelOptInfo.fdw_private from GetForeignRelSize on. */
typedef struct TablePlanning
{
	Oid			relid;
	Oid			userid;
	HallwayRelation *relation;
	double		stated_rows;	/* option estimated_rows; 0: none */
	bool		known_rows;		/* baserel->tuples is an estimate of our own
								 * side: that option, or ANALYZE */
	bool		async;			/* option async_capable */
	bool		limit_possible; /* as in PlanRequest */
	Oid			cached;			/* cache table with all rows, fresh; or InvalidOid */
	List	   *cached_leading; /* of int: columns that lead an index of it */
	List	   *calls;			/* of PlanCall; a path holds an index into it */
} TablePlanning;

/* One Plan RPC, or its answer kept from an earlier one, for a set of clauses. */
typedef struct PlanCall
{
	int			index;			/* in TablePlanning.calls */
	List	   *considered;		/* RestrictInfos: all but pseudo-constant ones */
	List	   *shipped;		/* those of them that are the conjuncts, in order */
	Hallway__V1__Expr **conjuncts;	/* of those, and */
	List	   *parameters;		/* all their Parameter messages */
	List	   *param_ends;		/* of int: parameters there are up to each one */
	List	   *params;			/* Exprs, in order of Parameter.index */
	List	   *orderings;		/* Lists of PathKeys, in order of the request's */
	const Hallway__V1__PlanResponse *answer;
	List	   *keyed;			/* of int: columns that a pushed equality binds */
	List	   *listed;			/* of int: or that a pushed list does */
	double		retrieved;		/* rows that come from the API */
	double		rows;			/* rows that are left after local checks */
	Cost		startup_cost;
	Cost		total_cost;
} PlanCall;

/* plan.c */
extern PlanCall *hallway_plan_clauses(PlannerInfo *root, RelOptInfo *baserel,
									  TablePlanning *state, List *clauses,
									  bool with_orderings);
extern PlanCall *hallway_plan_groups(PlannerInfo *root, RelOptInfo *baserel,
									 TablePlanning *state,
									 Hallway__V1__Aggregation *aggregation);
extern Const *hallway_bytes_const(const ProtobufCBinaryData *bytes);
extern Hallway__V1__Verdict hallway_verdict(const PlanCall *call, RestrictInfo *rinfo,
											int *conjunct);
extern bool hallway_ordering_is_exact(const Hallway__V1__PlanResponse *answer, int ordering);

/* paths.c */
extern bool hallway_written_meanwhile(PlannerInfo *root, RelOptInfo *baserel,
									  TablePlanning *state);
extern void hallway_find_keys(TablePlanning *state, PlanCall *call,
							  const Hallway__V1__PlanRequest *request);
extern void hallway_estimate(PlannerInfo *root, RelOptInfo *baserel,
							 TablePlanning *state, PlanCall *call);
extern void hallway_add_plain_paths(PlannerInfo *root, RelOptInfo *baserel,
									TablePlanning *state, PlanCall *call);
extern void hallway_add_lookup_paths(PlannerInfo *root, RelOptInfo *baserel,
									 TablePlanning *state);

/* upper.c: the plan of groups that the API makes. */
extern ForeignScan *hallway_upper_plan(RelOptInfo *rel, List *tlist, Plan *outer_plan);

/*
 * plan_cache.c: the answer to request (whose Parameter messages are parameters),
 * in the current memory context. Throws what the sidecar answers.
 */
extern const Hallway__V1__PlanResponse *hallway_cached_plan(HallwayRelation *relation,
															Hallway__V1__PlanRequest *request,
															List *parameters);

#endif							/* HALLWAY_PLAN_H */
