/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Everything that differs between PostgreSQL versions 15 to 18; no other
 *		file asks for PG_VERSION_NUM to decide what to compile.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HALLWAY_COMPAT_H
#define HALLWAY_COMPAT_H

#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "commands/explain.h"
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "parser/parse_relation.h"
#include "parser/parse_type.h"
#include "parser/parsetree.h"
#include "pgstat.h"
#include "replication/message.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* What pg_stat_activity.wait_event says while a backend waits for a sidecar. */
static inline uint32
hallway_wait_event(void)
{
#if PG_VERSION_NUM >= 170000
	static uint32 event = 0;

	if (event == 0)
		event = WaitEventExtensionNew("HallwaySidecar");
	return event;
#else
	return PG_WAIT_EXTENSION;
#endif
}

/* A wait set that lives until it is freed, whatever transaction made it. */
static inline WaitEventSet *
hallway_create_wait_set(MemoryContext cxt, int nevents)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, nevents);
#else
	return CreateWaitEventSet(cxt, nevents);
#endif
}

/* Whose permissions a scan has: a view's owner, or the user. */
static inline Oid
hallway_compat_scan_user(ForeignScanState *node)
{
	ForeignScan *scan = castNode(ForeignScan, node->ss.ps.plan);
	Oid			userid;
#if PG_VERSION_NUM >= 160000
	userid = scan->checkAsUser;
#else
	int			rtindex = scan->scan.scanrelid;

	if (rtindex == 0)
		rtindex = bms_next_member(scan->fs_relids, -1);
	userid = exec_rt_fetch(rtindex, node->ss.ps.state)->checkAsUser;
#endif
	return OidIsValid(userid) ? userid : GetUserId();
}

/* The same for the target of a modification, a partition routed to included. */
static inline Oid
hallway_compat_modify_user(ResultRelInfo *rinfo, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	return ExecGetResultRelCheckAsUser(rinfo, estate);
#else
	Index		rtindex = rinfo->ri_RangeTableIndex;
	Oid			userid = InvalidOid;

	if (rtindex == 0 && rinfo->ri_RootResultRelInfo != NULL)
		rtindex = rinfo->ri_RootResultRelInfo->ri_RangeTableIndex;
	if (rtindex > 0)
		userid = exec_rt_fetch(rtindex, estate)->checkAsUser;
	return OidIsValid(userid) ? userid : GetUserId();
#endif
}

/* The user as whom the target of INSERT, UPDATE or DELETE is planned. */
static inline Oid
hallway_compat_target_user(PlannerInfo *root, RangeTblEntry *rte)
{
	Oid			userid;
#if PG_VERSION_NUM >= 160000
	/* A child's entry has no permissions of its own: the target's hold. */
	RTEPermissionInfo *perminfo =
		getRTEPermissionInfo(root->parse->rteperminfos,
							 rt_fetch(root->parse->resultRelation, root->parse->rtable));

	userid = perminfo->checkAsUser;
#else
	userid = rte->checkAsUser;
#endif
	return OidIsValid(userid) ? userid : GetUserId();
}

/* A logical decoding message without contents: WAL of this transaction's own. */
static inline void
hallway_log_message(const char *prefix)
{
#if PG_VERSION_NUM >= 170000
	(void) LogLogicalMessage(prefix, "", 0, true, false);
#else
	(void) LogLogicalMessage(prefix, "", 0, true);
#endif
}

/* ExecutorRun() as its hook sees it, and how the next one is called. */
#if PG_VERSION_NUM >= 180000
#define HALLWAY_EXECUTOR_RUN_PARAMS \
	QueryDesc *queryDesc, ScanDirection direction, uint64 count
#define HALLWAY_EXECUTOR_RUN_ARGS queryDesc, direction, count
#else
#define HALLWAY_EXECUTOR_RUN_PARAMS \
	QueryDesc *queryDesc, ScanDirection direction, uint64 count, bool execute_once
#define HALLWAY_EXECUTOR_RUN_ARGS queryDesc, direction, count, execute_once
#endif

/* pg_foreign_server_aclcheck() of 15. */
static inline AclResult
hallway_server_aclcheck(Oid serverid, Oid userid, AclMode mode)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ForeignServerRelationId, serverid, userid, mode);
#else
	return pg_foreign_server_aclcheck(serverid, userid, mode);
#endif
}

/* pg_class_ownercheck() of 15. */
static inline bool
hallway_owns_relation(Oid relid, Oid userid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(RelationRelationId, relid, userid);
#else
	return pg_class_ownercheck(relid, userid);
#endif
}

/* ---- planning ------------------------------------------------------------ */

/* <> as a strategy: it stands in no operator family itself. */
#define HALLWAY_STRATEGY_NE 6

/* The btree strategy of an operator in a family, HALLWAY_STRATEGY_NE, or 0. */
static inline int
hallway_btree_strategy(Oid opno, Oid opfamily)
{
	ListCell   *lc;
#if PG_VERSION_NUM >= 180000
	StaticAssertDecl(COMPARE_LT == BTLessStrategyNumber &&
					 COMPARE_GT == BTGreaterStrategyNumber &&
					 COMPARE_NE == HALLWAY_STRATEGY_NE, "strategies are numbered otherwise");

	foreach(lc, get_op_index_interpretation(opno))
	{
		OpIndexInterpretation *found = lfirst(lc);

		if (found->opfamily_id == opfamily)
			return (int) found->cmptype;
	}
#else
	StaticAssertDecl(ROWCOMPARE_NE == HALLWAY_STRATEGY_NE, "strategies are numbered otherwise");

	foreach(lc, get_op_btree_interpretation(opno))
	{
		OpBtreeInterpretation *found = lfirst(lc);

		if (found->opfamily_id == opfamily)
			return found->strategy;
	}
#endif
	return 0;
}

static inline bool
hallway_pathkey_descending(const PathKey *pathkey)
{
#if PG_VERSION_NUM >= 180000
	return pathkey->pk_cmptype == COMPARE_GT;
#else
	return pathkey->pk_strategy == BTGreaterStrategyNumber;
#endif
}

/* A member of the class that is over rel alone, or NULL. */
static inline EquivalenceMember *
hallway_ec_member_of_rel(EquivalenceClass *ec, RelOptInfo *rel)
{
	EquivalenceMember *em;
#if PG_VERSION_NUM >= 180000
	EquivalenceMemberIterator it;

	setup_eclass_member_iterator(&it, ec, rel->relids);
	while ((em = eclass_member_iterator_next(&it)) != NULL)
	{
#else
	ListCell   *lc;

	foreach(lc, ec->ec_members)
	{
		em = lfirst(lc);
#endif
		if (!em->em_is_const && bms_equal(em->em_relids, rel->relids))
			return em;
	}
	return NULL;
}

/* As whom a relation is read by the query that is being planned. */
static inline Oid
hallway_rel_user(RelOptInfo *rel)
{
	return OidIsValid(rel->userid) ? rel->userid : GetUserId();
}

/* The executor's permission check of one query level, which throws 42501. */
static inline void
hallway_exec_check_permissions(Query *parse)
{
#if PG_VERSION_NUM >= 160000
	(void) ExecCheckPermissions(parse->rtable, parse->rteperminfos, true);
#else
	(void) ExecCheckRTPerms(parse->rtable, true);
#endif
}

/* Lets a query that nobody has analyzed read rte's table, as owner. */
static inline void
hallway_allow_select(Query *query, RangeTblEntry *rte, Oid owner)
{
#if PG_VERSION_NUM >= 160000
	RTEPermissionInfo *perminfo = addRTEPermissionInfo(&query->rteperminfos, rte);

	perminfo->requiredPerms = ACL_SELECT;
	perminfo->checkAsUser = owner;
#else
	rte->requiredPerms = ACL_SELECT;
	rte->checkAsUser = owner;
#endif
}

/* Whether a clause's operator sorts the greatest first. */
static inline void
hallway_set_reverse_sort(SortGroupClause *clause, bool reverse)
{
#if PG_VERSION_NUM >= 180000
	clause->reverse_sort = reverse;
#endif
}

static inline ForeignPath *
hallway_create_foreignscan_path(PlannerInfo *root, RelOptInfo *rel, double rows,
								Cost startup_cost, Cost total_cost, List *pathkeys,
								Relids required_outer, List *fdw_private)
{
#if PG_VERSION_NUM >= 180000
	return create_foreignscan_path(root, rel, NULL, rows, 0, startup_cost, total_cost,
								   pathkeys, required_outer, NULL, NIL, fdw_private);
#elif PG_VERSION_NUM >= 170000
	return create_foreignscan_path(root, rel, NULL, rows, startup_cost, total_cost,
								   pathkeys, required_outer, NULL, NIL, fdw_private);
#else
	return create_foreignscan_path(root, rel, NULL, rows, startup_cost, total_cost,
								   pathkeys, required_outer, NULL, fdw_private);
#endif
}

/* A path of groups, with another below it that makes them here. */
static inline ForeignPath *
hallway_create_foreign_upper_path(PlannerInfo *root, RelOptInfo *rel, PathTarget *target,
								  double rows, Cost startup_cost, Cost total_cost,
								  Path *fdw_outerpath)
{
#if PG_VERSION_NUM >= 180000
	return create_foreign_upper_path(root, rel, target, rows, 0, startup_cost, total_cost,
									 NIL, fdw_outerpath, NIL, NIL);
#elif PG_VERSION_NUM >= 170000
	return create_foreign_upper_path(root, rel, target, rows, startup_cost, total_cost,
									 NIL, fdw_outerpath, NIL, NIL);
#else
	return create_foreign_upper_path(root, rel, target, rows, startup_cost, total_cost,
									 NIL, fdw_outerpath, NIL);
#endif
}

/* What rows are grouped by, without what is the same in all of them (from 16 on). */
static inline List *
hallway_group_clause(PlannerInfo *root)
{
#if PG_VERSION_NUM >= 160000
	return root->processed_groupClause;
#else
	return root->parse->groupClause;
#endif
}

/* ---- types ---------------------------------------------------------------- */

/* The type that text names; ERROR if there is none. */
static inline void
hallway_parse_type(const char *text, Oid *type, int32 *typmod)
{
#if PG_VERSION_NUM >= 160000
	(void) parseTypeString(text, type, typmod, NULL);
#else
	parseTypeString(text, type, typmod, false);
#endif
}

#endif							/* HALLWAY_COMPAT_H */
