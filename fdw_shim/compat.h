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

#include "catalog/pg_foreign_server.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "pgstat.h"
#include "replication/message.h"
#include "storage/latch.h"
#include "utils/acl.h"
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

#endif							/* HALLWAY_COMPAT_H */
