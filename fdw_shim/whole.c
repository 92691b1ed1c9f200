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
static EState *running = NULL;
static uint64 running_count = 0;

static ExecutorRun_hook_type next_executor_run = NULL;

static void executor_run(HALLWAY_EXECUTOR_RUN_PARAMS);
static bool read_whole(Plan *plan, Plan *scan, bool whole);
static bool any_whole(List *plans, Plan *scan, bool whole);


void
hallway_whole_init(void)
{
	next_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
}

/*
 * After an error in a function that catches it, what runs is taken for nothing
 * that is known.
 */
static void
executor_run(HALLWAY_EXECUTOR_RUN_PARAMS)
{
	EState	   *outer = running;
	uint64		outer_count = running_count;

	running = queryDesc->estate;
	running_count = (uint64) count;
	if (next_executor_run != NULL)
		next_executor_run(HALLWAY_EXECUTOR_RUN_ARGS);
	else
		standard_ExecutorRun(HALLWAY_EXECUTOR_RUN_ARGS);
	running = outer;
	running_count = outer_count;
}

bool
hallway_reads_whole(ForeignScanState *node)
{
	EState	   *estate = node->ss.ps.state;

	if (estate != running || estate->es_plannedstmt == NULL)
		return false;
	return read_whole(estate->es_plannedstmt->planTree, node->ss.ps.plan, running_count == 0);
}

/*
 * Is a scan below the plan, and read to its end if it is read at all? whole: so
 * is the plan. Subplans are not looked at: EXISTS stops at a row.
 */
static bool
read_whole(Plan *plan, Plan *scan, bool whole)
{
	if (plan == NULL)
		return false;
	if (plan == scan)
		return whole;
	check_stack_depth();

	switch (nodeTag(plan))
	{
			/* They read all before they give anything. */
		case T_Sort:
		case T_Hash:
			return read_whole(outerPlan(plan), scan, true);
		case T_Agg:
			return read_whole(outerPlan(plan), scan,
							  whole || ((Agg *) plan)->aggstrategy != AGG_SORTED);

		case T_Result:
		case T_ProjectSet:
		case T_ModifyTable:
		case T_LockRows:
		case T_Material:
		case T_IncrementalSort:
		case T_Group:
		case T_Unique:
			return read_whole(outerPlan(plan), scan, whole);
		case T_SubqueryScan:
			return read_whole(((SubqueryScan *) plan)->subplan, scan, whole);
		case T_Append:
			return any_whole(((Append *) plan)->appendplans, scan, whole);
		case T_MergeAppend:
			return any_whole(((MergeAppend *) plan)->mergeplans, scan, whole);

		case T_HashJoin:
			return read_whole(outerPlan(plan), scan, whole) ||
				read_whole(innerPlan(plan), scan, whole);
		case T_NestLoop:
			/* Of the inner side, a row may be enough. */
			return read_whole(outerPlan(plan), scan, whole);
		case T_MergeJoin:
			/* It ends with the side that ends first; but what is sorted is read. */
			return read_whole(outerPlan(plan), scan, false) ||
				read_whole(innerPlan(plan), scan, false);

		case T_Limit:
		case T_WindowAgg:
			return read_whole(outerPlan(plan), scan, false);
		default:
			return false;
	}
}

static bool
any_whole(List *plans, Plan *scan, bool whole)
{
	ListCell   *lc;

	foreach(lc, plans)
	{
		if (read_whole(lfirst(lc), scan, whole))
			return true;
	}
	return false;
}
