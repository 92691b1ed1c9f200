/*-------------------------------------------------------------------------
 *
 * scan_request.c
 *		What a scan asks for: its plan, with the values of this moment.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "utils/memutils.h"

#include "compat.h"
#include "hallway.h"
#include "scan.h"

static Hallway__V1__ScanRequest *build(ForeignScanState *node, const HallwayScanPlan *plan,
									   const HallwayScanExprs *exprs, bool foresee);
static uint64 limit_bound(ForeignScanState *node, const HallwayScanExprs *exprs);
static bool needs_running(Node *node, void *context);


void
hallway_request_init(ForeignScanState *node, const HallwayScanPlan *plan, HallwayScanExprs *out)
{
	List	   *exprs = ((ForeignScan *) node->ss.ps.plan)->fdw_exprs;
	MemoryContext oldcontext;

	if (out->ready)
		return;
	out->ready = true;

	Assert(list_length(exprs) == plan->nparams + (plan->has_limit ? 2 : 0));

	oldcontext = MemoryContextSwitchTo(node->ss.ps.state->es_query_cxt);
	for (int i = 0; i < plan->nparams; i++)
		out->params = lappend(out->params,
							  ExecInitExpr(list_nth(exprs, i), &node->ss.ps));
	if (plan->has_limit)
	{
		out->count = ExecInitExpr(list_nth(exprs, plan->nparams), &node->ss.ps);
		out->offset = ExecInitExpr(list_nth(exprs, plan->nparams + 1), &node->ss.ps);
	}
	MemoryContextSwitchTo(oldcontext);
}

Hallway__V1__ScanRequest *
hallway_request_build(ForeignScanState *node, const HallwayScanPlan *plan,
					  const HallwayScanExprs *exprs)
{
	return build(node, plan, exprs, false);
}

Hallway__V1__ScanRequest *
hallway_request_foresee(ForeignScanState *node, const HallwayScanPlan *plan,
						const HallwayScanExprs *exprs)
{
	return build(node, plan, exprs, true);
}

/* foresee: without those values that only running the query gives. */
static Hallway__V1__ScanRequest *
build(ForeignScanState *node, const HallwayScanPlan *plan, const HallwayScanExprs *exprs,
	  bool foresee)
{
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	Hallway__V1__ScanRequest *request = palloc(sizeof(Hallway__V1__ScanRequest));
	List	   *parameters = ((ForeignScan *) node->ss.ps.plan)->fdw_exprs;
	ParamListInfo given = node->ss.ps.state->es_param_list_info;
	ListCell   *lc;

	hallway__v1__scan_request__init(request);
	request->plan.data = (uint8 *) VARDATA_ANY(plan->plan);
	request->plan.len = VARSIZE_ANY_EXHDR(plan->plan);
	request->ordering = plan->ordering;

	request->parameters = palloc(sizeof(Hallway__V1__Value *) * Max(plan->nparams, 1));
	foreach(lc, exprs->params)
	{
		Expr	   *expr = list_nth(parameters, foreach_current_index(lc));
		Hallway__V1__Value *value;
		Datum		datum;
		bool		isnull;

		if (foresee && needs_running((Node *) expr, given))
		{
			request->parameters[request->n_parameters++] = NULL;
			continue;
		}
		value = palloc(sizeof(Hallway__V1__Value));
		hallway__v1__value__init(value);
		datum = ExecEvalExprSwitchContext(lfirst(lc), econtext, &isnull);
		hallway_encode_value(exprType((Node *) expr), datum, isnull, value);
		request->parameters[request->n_parameters++] = value;
	}

	if (!foresee)
	{
		request->limit = limit_bound(node, exprs);
		request->whole = hallway_reads_whole(node);
		request->statement = hallway_statement_number();
	}
	request->progress = node->ss.ps.instrument != NULL;
	return request;
}

/* Whether two requests of one scan ask for the same rows. */
bool
hallway_request_same(const Hallway__V1__ScanRequest *a, const Hallway__V1__ScanRequest *b)
{
	if (a->limit != b->limit || a->n_parameters != b->n_parameters)
		return false;
	for (size_t i = 0; i < a->n_parameters; i++)
	{
		const Hallway__V1__Value *x = a->parameters[i];
		const Hallway__V1__Value *y = b->parameters[i];

		if (x->null != y->null || x->binary.len != y->binary.len ||
			(x->binary.len > 0 && memcmp(x->binary.data, y->binary.data, x->binary.len) != 0))
			return false;
	}
	return true;
}

/*
 * The most rows that LIMIT and OFFSET let through, or 0 for no bound. Values
 * that are errors (negative) are left for the Limit node above to complain of.
 */
static uint64
limit_bound(ForeignScanState *node, const HallwayScanExprs *exprs)
{
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	bool		isnull;
	int64		count;
	int64		offset;
	int64		bound;

	if (exprs->count == NULL)
		return 0;

	count = DatumGetInt64(ExecEvalExprSwitchContext(exprs->count, econtext, &isnull));
	if (isnull || count < 0)
		return 0;

	offset = 0;
	if (exprs->offset != NULL)
	{
		offset = DatumGetInt64(ExecEvalExprSwitchContext(exprs->offset, econtext, &isnull));
		if (isnull)
			offset = 0;
		if (offset < 0)
			return 0;
	}

	if (pg_add_s64_overflow(count, offset, &bound))
		return 0;
	return (uint64) bound;
}

bool
hallway_request_needs_running(ForeignScanState *node)
{
	return needs_running((Node *) ((ForeignScan *) node->ss.ps.plan)->fdw_exprs,
						 node->ss.ps.state->es_param_list_info);
}

/* Does an expression need what only running the query computes? */
static bool
needs_running(Node *node, void *context)
{
	if (node == NULL)
		return false;
	/* EXPLAIN (GENERIC_PLAN), of 16 and later, has no values at all. */
	if (IsA(node, Param) &&
		(((Param *) node)->paramkind != PARAM_EXTERN || context == NULL))
		return true;
	return expression_tree_walker(node, needs_running, context);
}
