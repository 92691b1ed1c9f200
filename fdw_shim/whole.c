/*-------------------------------------------------------------------------
 *
 * whole.c
 *		Whether all rows of a scan will be read.
 *
 * The sidecar may refuse such a scan before it has read any, if it knows that
 * the API's limits do not let it come to its end. A scan that a LIMIT, a join
 * or a cursor may stop goes as far as it gets.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"

#include "compat.h"
#include "hallway.h"
#include "scan.h"

/* What runs now, and after how many rows it stops; 0: after the last. */
static QueryDesc *running = NULL;
static uint64 running_count = 0;

static ExecutorRun_hook_type next_executor_run = NULL;

static void executor_run(HALLWAY_EXECUTOR_RUN_PARAMS);
static bool read_whole(PlanState *node, PlanState *scan, bool whole);
static bool any_whole(PlanState **nodes, int nnodes, PlanState *scan, bool whole);


void
hallway_whole_init(void)
{
	next_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
}

static void
executor_run(HALLWAY_EXECUTOR_RUN_PARAMS)
{
	QueryDesc  *outer = running;
	uint64		outer_count = running_count;

	running = queryDesc;
	running_count = (uint64) count;
	PG_TRY();
	{
		if (next_executor_run != NULL)
			next_executor_run(HALLWAY_EXECUTOR_RUN_ARGS);
		else
			standard_ExecutorRun(HALLWAY_EXECUTOR_RUN_ARGS);
	}
	PG_FINALLY();
	{
		running = outer;
		running_count = outer_count;
	}
	PG_END_TRY();
}

bool
hallway_reads_whole(ForeignScanState *node)
{
	/* What EvalPlanQual() runs is not the query's. */
	if (running == NULL || running->estate != node->ss.ps.state)
		return false;
	return read_whole(running->planstate, &node->ss.ps, running_count == 0);
}

/*
 * Is a scan that begins now below the node, and read to its end? whole: so is
 * the node, if it is read at all. Subplans are not looked at: EXISTS stops at a
 * row.
 */
static bool
read_whole(PlanState *node, PlanState *scan, bool whole)
{
	if (node == NULL)
		return false;
	if (node == scan)
		return whole;
	check_stack_depth();

	switch (nodeTag(node))
	{
			/* They read all before they give anything. */
		case T_SortState:
		case T_HashState:
			return read_whole(outerPlanState(node), scan, true);
		case T_AggState:
			{
				AggStrategy strategy = ((Agg *) node->plan)->aggstrategy;

				return read_whole(outerPlanState(node), scan,
								  whole || strategy == AGG_PLAIN || strategy == AGG_HASHED);
			}

		case T_ResultState:
		case T_ProjectSetState:
		case T_ModifyTableState:
		case T_LockRowsState:
		case T_MaterialState:
		case T_IncrementalSortState:
		case T_GroupState:
		case T_UniqueState:
			return read_whole(outerPlanState(node), scan, whole);
		case T_SubqueryScanState:
			return read_whole(((SubqueryScanState *) node)->subplan, scan, whole);
		case T_AppendState:
			return any_whole(((AppendState *) node)->appendplans,
							 ((AppendState *) node)->as_nplans, scan, whole);
		case T_MergeAppendState:
			return any_whole(((MergeAppendState *) node)->mergeplans,
							 ((MergeAppendState *) node)->ms_nplans, scan, whole);

		case T_HashJoinState:
			{
				HashJoinState *join = (HashJoinState *) node;

				/*
				 * The inner side's rows come first, and where there are none and
				 * the outer side's alone give none the join ends. But a row of
				 * the outer side may be tried before.
				 */
				return read_whole(outerPlanState(node), scan, whole &&
								  (join->hj_HashTable != NULL ||
								   join->hj_NullInnerTupleSlot != NULL)) ||
					read_whole(innerPlanState(node), scan, whole);
			}
		case T_NestLoopState:
			/* Of the inner side, a row may be enough. */
			return read_whole(outerPlanState(node), scan, whole);
		case T_MergeJoinState:
			/* It ends with the side that ends first; but what is sorted is read. */
			return read_whole(outerPlanState(node), scan, false) ||
				read_whole(innerPlanState(node), scan, false);

		case T_LimitState:
		case T_WindowAggState:
			return read_whole(outerPlanState(node), scan, false);
		default:
			return false;
	}
}

static bool
any_whole(PlanState **nodes, int nnodes, PlanState *scan, bool whole)
{
	for (int i = 0; i < nnodes; i++)
	{
		if (read_whole(nodes[i], scan, whole))
			return true;
	}
	return false;
}
