/*-------------------------------------------------------------------------
 *
 * explain.c
 *		What EXPLAIN says of a scan and of a write: the request that goes to the
 *		API, what became of each condition, and, with ANALYZE, what it took.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "cache.h"
#include "compat.h"
#include "hallway.h"
#include "modify.h"
#include "scan.h"

/* Positions in HallwayScanPlan.explain. */
enum ScanExplanation
{
	EXPLANATION_VERDICTS,		/* IntList: a Verdict for each local qual */
	EXPLANATION_REASONS,		/* Strings, as many */
	EXPLANATION_ORDERING		/* IntList: attnum, descending, nulls first, ... */
};

static void explain_request(ForeignScanState *node, const Hallway__V1__ScanHeader *header,
							ExplainState *es);
static void explain_quals(ForeignScanState *node, const HallwayScanPlan *plan,
						  const Hallway__V1__ScanHeader *header, ExplainState *es);
static void explain_some_quals(const char *label, List *quals, List *reasons,
							   List *context, ExplainState *es);
static void explain_ordering(ForeignScanState *node, const HallwayScanPlan *plan,
							 ExplainState *es);
static void explain_limit(ForeignScanState *node, const HallwayScanPlan *plan,
						  List *context, ExplainState *es);
static void explain_written(const HallwayWriteStats *stats, ExplainState *es);
static List *deparse_context(ForeignScanState *node, ExplainState *es);
static bool find_ancestors(Plan *plan, Plan *target, List **ancestors);
static bool find_ancestors_in(List *plans, Plan *target, List **ancestors);
static List *column_names(Relation rel, List *attnums);
static char *join_strings(List *strings, const char *separator);


void
hallwayExplainForeignScan(ForeignScanState *node, ExplainState *es)
{
	HallwayScanPlan plan;
	const Hallway__V1__ScanHeader *header;
	const Hallway__V1__ScanStats *stats;

	if (hallway_is_upper(node))
	{
		hallway_upper_explain(node, es);
		return;
	}
	stats = es->analyze ? hallway_scan_stats(node) : NULL;

	/*
	 * From the cache: nothing else is true of it but the plan that reads it, and
	 * what the API was asked for other values before.
	 */
	if (hallway_scan_explain_cache(node, es))
	{
		if (stats != NULL)
			hallway_explain_stats(stats, es);
		hallway_scan_explain_inner(node, es);
		return;
	}

	header = hallway_scan_explain(node);
	hallway_scan_plan((ForeignScan *) node->ss.ps.plan, &plan);
	explain_request(node, header, es);
	explain_quals(node, &plan, header, es);
	explain_ordering(node, &plan, es);
	if (plan.has_limit)
		explain_limit(node, &plan, deparse_context(node, es), es);
	if (stats != NULL)
		hallway_explain_stats(stats, es);
}

void
hallwayExplainForeignModify(ModifyTableState *mtstate, ResultRelInfo *rinfo,
							List *fdw_private, int subplan_index, ExplainState *es)
{
	Relation	rel = rinfo->ri_RelationDesc;
	HallwayModifyPlan plan;
	HallwayWritePolicy policy;
	const char *operation =
		mtstate->operation == CMD_INSERT ? "INSERT" :
		mtstate->operation == CMD_UPDATE ? "UPDATE" : "DELETE";
	List	   *columns;
	List	   *keys;
	List	   *returning;

	hallway_modify_plan(fdw_private, &plan);
	hallway_write_policy(rel, &policy);
	columns = column_names(rel, plan.columns);
	keys = column_names(rel, plan.keys);
	returning = column_names(rel, plan.returning);
	if (mtstate->operation == CMD_INSERT && policy.upsert_key != NIL)
	{
		operation = "UPSERT";
		keys = column_names(rel, policy.upsert_key);
	}
	else if (mtstate->operation == CMD_DELETE && policy.delete_column != 0)
	{
		operation = "UPDATE";
		columns = column_names(rel, list_make1_int(policy.delete_column));
	}

	if (es->format == EXPLAIN_FORMAT_TEXT)
	{
		StringInfoData line;

		initStringInfo(&line);
		appendStringInfoString(&line, operation);
		if (columns != NIL)
			appendStringInfo(&line, " %s", join_strings(columns, ", "));
		if (keys != NIL)
			appendStringInfo(&line, " BY %s", join_strings(keys, ", "));
		if (returning != NIL)
			appendStringInfo(&line, " RETURNING %s", join_strings(returning, ", "));
		if (policy.dry_run)
			appendStringInfoString(&line, ", not sent (dry run)");
		else if (policy.write_at != WRITE_AT_STATEMENT)
			appendStringInfoString(&line, policy.write_at == WRITE_AT_COMMIT ?
								   ", at the commit" : ", after the commit");
		ExplainPropertyText("Hallway Write", line.data, es);
	}
	else
	{
		ExplainPropertyText("Written As", operation, es);
		ExplainPropertyList("Written Columns", columns, es);
		ExplainPropertyList("Key Columns", keys, es);
		ExplainPropertyList("Returned Columns", returning, es);
	}
	if (es->analyze && rinfo->ri_FdwState != NULL)
		explain_written(&((HallwayModifyState *) rinfo->ri_FdwState)->stats, es);
}

/* A request may be many calls of the API, or none. */
static void
explain_written(const HallwayWriteStats *stats, ExplainState *es)
{
	if (es->format == EXPLAIN_FORMAT_TEXT)
	{
		StringInfoData line;

		initStringInfo(&line);
		appendStringInfo(&line, "requests=" UINT64_FORMAT " rows=" UINT64_FORMAT,
						 stats->requests, stats->rows);
		if (stats->calls > 0)
			appendStringInfo(&line, " calls=" UINT64_FORMAT, stats->calls);
		if (stats->created > 0)
			appendStringInfo(&line, " created=" UINT64_FORMAT, stats->created);
		if (stats->unchanged > 0)
			appendStringInfo(&line, " unchanged=" UINT64_FORMAT, stats->unchanged);
		if (stats->queued > 0)
			appendStringInfo(&line, " queued=" UINT64_FORMAT, stats->queued);
		ExplainPropertyText("API Writes", line.data, es);
		return;
	}
	ExplainPropertyUInteger("Write Requests", NULL, stats->requests, es);
	ExplainPropertyUInteger("Write Calls", NULL, stats->calls, es);
	ExplainPropertyUInteger("Rows Sent", NULL, stats->rows, es);
	ExplainPropertyUInteger("Rows Created", NULL, stats->created, es);
	ExplainPropertyUInteger("Rows Unchanged", NULL, stats->unchanged, es);
	ExplainPropertyUInteger("Rows Queued", NULL, stats->queued, es);
}

/* The state of EXPLAIN is that of the outer plan, and so again afterwards. */
void
hallway_explain_inner(const char *label, QueryDesc *desc, ExplainState *es)
{
	ExplainState saved = *es;
	List	   *grouping_stack;

	es->settings = false;
	if (es->format != EXPLAIN_FORMAT_TEXT)
		ExplainOpenGroup(label, label, true, es);
	ExplainPrintPlan(es, desc);
	if (es->format != EXPLAIN_FORMAT_TEXT)
		ExplainCloseGroup(label, label, true, es);
	grouping_stack = es->grouping_stack;
	*es = saved;
	es->grouping_stack = grouping_stack;
}

/* ---- scans --------------------------------------------------------------- */

static void
explain_request(ForeignScanState *node, const Hallway__V1__ScanHeader *header,
				ExplainState *es)
{
	if (header != NULL)
		ExplainPropertyText("Hallway Request", hallway_server_text(header->request), es);
	else
		ExplainPropertyText("Hallway Request",
							"depends on values that are known when the scan runs", es);
}

/*
 * "Filter" above our lines is PostgreSQL's own, and holds all that is checked
 * here. What of it went to the API, too, and what never did, we say.
 */
static void
explain_quals(ForeignScanState *node, const HallwayScanPlan *plan,
			  const Hallway__V1__ScanHeader *header, ExplainState *es)
{
	ForeignScan *scan = castNode(ForeignScan, node->ss.ps.plan);
	List	   *verdicts = list_nth(plan->explain, EXPLANATION_VERDICTS);
	List	   *reasons = list_nth(plan->explain, EXPLANATION_REASONS);
	List	   *pushed = NIL;
	List	   *taken_back = NIL;
	List	   *superset = NIL;
	List	   *superset_reasons = NIL;
	List	   *local = NIL;
	List	   *local_reasons = NIL;
	List	   *context;
	ListCell   *lc;
	ListCell   *lc_reason;

	if (scan->fdw_recheck_quals == NIL && scan->scan.plan.qual == NIL)
		return;
	context = deparse_context(node, es);

	foreach(lc, scan->fdw_recheck_quals)
	{
		int			conjunct = list_nth_int(plan->exact, foreach_current_index(lc));
		bool		recheck = false;

		for (size_t i = 0; header != NULL && i < header->n_recheck; i++)
			recheck = recheck || header->recheck[i] == (uint32) conjunct;
		if (recheck)
			taken_back = lappend(taken_back, lfirst(lc));
		else
			pushed = lappend(pushed, lfirst(lc));
	}

	forboth(lc, scan->scan.plan.qual, lc_reason, reasons)
	{
		if (list_nth_int(verdicts, foreach_current_index(lc)) ==
			HALLWAY__V1__VERDICT__VERDICT_SUPERSET)
		{
			superset = lappend(superset, lfirst(lc));
			superset_reasons = lappend(superset_reasons, lfirst(lc_reason));
		}
		else
		{
			local = lappend(local, lfirst(lc));
			local_reasons = lappend(local_reasons, lfirst(lc_reason));
		}
	}

	explain_some_quals("Pushed Filter", pushed, NIL, context, es);
	explain_some_quals("Rechecked Filter", superset, superset_reasons, context, es);
	/* Exact as planned, but not for the values of this execution. */
	explain_some_quals("Rechecked For These Values", taken_back, NIL, context, es);
	if (es->verbose)
		explain_some_quals("Local Filter", local, local_reasons, context, es);
}

/* With VERBOSE, each condition is followed by the connector's reason, if any. */
static void
explain_some_quals(const char *label, List *quals, List *reasons,
				   List *context, ExplainState *es)
{
	bool		useprefix = list_length(es->rtable) > 1 || es->verbose;
	List	   *texts = NIL;
	ListCell   *lc;

	foreach(lc, quals)
	{
		char	   *text = deparse_expression(lfirst(lc), context, useprefix, false);
		const char *reason = reasons != NIL && es->verbose ?
			hallway_server_text(strVal(list_nth(reasons, foreach_current_index(lc)))) : "";

		if (reason[0] != '\0')
			text = psprintf("%s [%s]", text, reason);
		texts = lappend(texts, text);
	}

	if (texts == NIL)
		return;
	if (es->format == EXPLAIN_FORMAT_TEXT)
		ExplainPropertyText(label, join_strings(texts, " AND "), es);
	else
		ExplainPropertyList(label, texts, es);
}

static void
explain_ordering(ForeignScanState *node, const HallwayScanPlan *plan, ExplainState *es)
{
	List	   *keys = list_nth(plan->explain, EXPLANATION_ORDERING);
	List	   *texts = NIL;

	for (int i = 0; i < list_length(keys); i += 3)
	{
		char	   *name = get_attname(RelationGetRelid(node->ss.ss_currentRelation),
									   list_nth_int(keys, i), false);
		bool		descending = list_nth_int(keys, i + 1);
		bool		nulls_first = list_nth_int(keys, i + 2);

		texts = lappend(texts,
						psprintf("%s%s%s", quote_identifier(name), descending ? " DESC" : "",
								 nulls_first == descending ? "" :
								 nulls_first ? " NULLS FIRST" : " NULLS LAST"));
	}
	if (texts != NIL)
		ExplainPropertyList("Pushed Order", texts, es);
}

static void
explain_limit(ForeignScanState *node, const HallwayScanPlan *plan, List *context,
			  ExplainState *es)
{
	List	   *exprs = castNode(ForeignScan, node->ss.ps.plan)->fdw_exprs;
	Node	   *count = list_nth(exprs, plan->nparams);
	Node	   *offset = list_nth(exprs, plan->nparams + 1);

	/* As numbers where they are: '10'::bigint reads badly. */
	if (IsA(count, Const) && IsA(offset, Const))
		ExplainPropertyInteger("Pushed Limit", NULL,
							   DatumGetInt64(((Const *) count)->constvalue) +
							   (((Const *) offset)->constisnull ? 0 :
								DatumGetInt64(((Const *) offset)->constvalue)), es);
	else if (IsA(offset, Const) && ((Const *) offset)->constisnull)
		ExplainPropertyText("Pushed Limit",
							deparse_expression(count, context, false, false), es);
	else
		ExplainPropertyText("Pushed Limit",
							psprintf("%s + %s",
									 deparse_expression(count, context, false, false),
									 deparse_expression(offset, context, false, false)), es);
}

void
hallway_explain_stats(const Hallway__V1__ScanStats *stats, ExplainState *es)
{
	if (es->format == EXPLAIN_FORMAT_TEXT)
	{
		StringInfoData line;

		initStringInfo(&line);
		appendStringInfo(&line,
						 "calls=" UINT64_FORMAT " pages=" UINT64_FORMAT " rows=" UINT64_FORMAT,
						 stats->calls, stats->pages, stats->rows);
		if (stats->retries > 0)
			appendStringInfo(&line, " retries=" UINT64_FORMAT, stats->retries);
		if (stats->limit_wait_ms > 0)
			appendStringInfo(&line, " rate limit wait=" UINT64_FORMAT " ms", stats->limit_wait_ms);
		/* As other times: not where the output is to be the same each time. */
		if (es->timing)
			appendStringInfo(&line, " time=" UINT64_FORMAT " ms", stats->api_ms);
		if (stats->api_bytes > 0 && es->timing)
			appendStringInfo(&line, " received=" UINT64_FORMAT " kB",
							 (stats->api_bytes + 1023) / 1024);
		ExplainPropertyText("API", line.data, es);
		return;
	}
	ExplainPropertyUInteger("API Calls", NULL, stats->calls, es);
	ExplainPropertyUInteger("API Pages", NULL, stats->pages, es);
	ExplainPropertyUInteger("API Rows", NULL, stats->rows, es);
	ExplainPropertyUInteger("API Retries", NULL, stats->retries, es);
	ExplainPropertyUInteger("Rate Limit Wait", "ms", stats->limit_wait_ms, es);
	if (es->timing)
	{
		ExplainPropertyUInteger("API Time", "ms", stats->api_ms, es);
		ExplainPropertyUInteger("API Bytes", NULL, stats->api_bytes, es);
	}
}

/* ---- deparsing ------------------------------------------------------------ */

/*
 * What ruleutils needs to write the node's expressions. Parameters that come
 * from other nodes are written as these compute them, for which the nodes above
 * ours must be known; EXPLAIN does not hand them down, so they are looked for.
 */
static List *
deparse_context(ForeignScanState *node, ExplainState *es)
{
	Plan	   *target = node->ss.ps.plan;
	List	   *ancestors = NIL;

	if (!find_ancestors(es->pstmt->planTree, target, &ancestors))
		(void) find_ancestors_in(es->pstmt->subplans, target, &ancestors);
	return set_deparse_context_plan(es->deparse_cxt, target, ancestors);
}

/* Collects the nodes above target, the nearest first; false: not below plan. */
static bool
find_ancestors(Plan *plan, Plan *target, List **ancestors)
{
	bool		found;

	if (plan == NULL || plan == target)
		return plan != NULL;

	found = find_ancestors(outerPlan(plan), target, ancestors) ||
		find_ancestors(innerPlan(plan), target, ancestors);
	if (!found && IsA(plan, Append))
		found = find_ancestors_in(((Append *) plan)->appendplans, target, ancestors);
	if (!found && IsA(plan, MergeAppend))
		found = find_ancestors_in(((MergeAppend *) plan)->mergeplans, target, ancestors);
	if (!found && IsA(plan, SubqueryScan))
		found = find_ancestors(((SubqueryScan *) plan)->subplan, target, ancestors);
	if (found)
		*ancestors = lappend(*ancestors, plan);
	return found;
}

static bool
find_ancestors_in(List *plans, Plan *target, List **ancestors)
{
	ListCell   *lc;

	foreach(lc, plans)
	{
		if (find_ancestors(lfirst(lc), target, ancestors))
			return true;
	}
	return false;
}

static List *
column_names(Relation rel, List *attnums)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, attnums)
		names = lappend(names,
						pstrdup(quote_identifier(get_attname(RelationGetRelid(rel),
															 lfirst_int(lc), false))));
	return names;
}

static char *
join_strings(List *strings, const char *separator)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, strings)
		appendStringInfo(&buf, "%s%s", buf.len > 0 ? separator : "", (char *) lfirst(lc));
	return buf.data;
}
