/*-------------------------------------------------------------------------
 *
 * hallway.h
 *		What the files of the shim share.
 *
 * Each section is the interface of one file. Nothing here knows an API.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HALLWAY_H
#define HALLWAY_H

#include "postgres.h"

#include "access/attnum.h"
#include "foreign/fdwapi.h"
#include "foreign/foreign.h"
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"
#include "utils/relcache.h"

#include "hallway/v1/error.pb-c.h"
#include "hallway/v1/expr.pb-c.h"
#include "hallway/v1/hallway.pb-c.h"

/* As newer versions of PostgreSQL write it; older ones have another macro. */
#ifndef pg_noreturn
#define pg_noreturn __attribute__((noreturn))
#endif

/* The Makefile takes it from the control file. */
#ifndef HALLWAY_VERSION
#define HALLWAY_VERSION "0.1.0"
#endif

#define HALLWAY_PROTOCOL_MAJOR 1
#define HALLWAY_PROTOCOL_MINOR 0

/* ---- channel.c, call.c: gRPC over HTTP/2 on one non-blocking socket ---- */

/*
 * A channel is the backend's connection to one sidecar address; it is made at
 * first use, kept until the backend ends, and made anew when it broke. All
 * waits are on the latch with CHECK_FOR_INTERRUPTS.
 */
typedef struct HallwayChannel HallwayChannel;

/* A stream is one Scan. It ends with its memory context or resource owner. */
typedef struct HallwayStream HallwayStream;

/* Connected and shaken hands; 08001 with a hint if that fails. */
extern HallwayChannel *hallway_channel(const char *address);

/*
 * Another, greater one whenever the channel was made anew, since handles are
 * gone then; never that of another channel.
 */
extern uint64 hallway_channel_generation(const HallwayChannel *channel);
/* The generation at an address without connecting or looking; 0: none stands. */
extern uint64 hallway_channel_standing(const char *address);
/* What the sidecar said in the handshake. */
extern const char *hallway_channel_sidecar_version(const HallwayChannel *channel);
/* Changes at every start of the sidecar. */
extern const char *hallway_channel_instance(const HallwayChannel *channel);

/*
 * One unary call: the answer, in the current memory context. If the call
 * fails, *error is the Error (in the current memory context too) and the
 * result is NULL; broken connections are such an Error (08006; 08007 if
 * is_write and the request may have arrived) after one reconnect where nothing
 * had been received. Cancel and timeouts leave by ereport.
 */
extern ProtobufCMessage *hallway_call(HallwayChannel *channel, const char *method,
									  const ProtobufCMessage *request,
									  const ProtobufCMessageDescriptor *answer,
									  bool is_write, Hallway__V1__Error **error);

/* A message in the current memory context; NULL if the bytes are not one. */
extern ProtobufCMessage *hallway_unpack(const ProtobufCMessageDescriptor *descriptor,
										const uint8 *data, size_t len);

/* Sends without waiting, never throws: for transaction callbacks. */
extern void hallway_send(HallwayChannel *channel, const char *method,
						 const ProtobufCMessage *request);
/*
 * Notes a transaction that has committed, for the next Modify there to tell, which
 * takes it; or the end of this process, if there is none. Never throws.
 */
extern void hallway_channel_tell_later(HallwayChannel *channel, uint64 xid);
/* Takes it; 0: there is none. */
extern uint64 hallway_channel_take_committed(HallwayChannel *channel);

/*
 * Opens Scan; lives in the current memory context, whose reset cancels it, as
 * does the end of the current resource owner.
 */
extern HallwayStream *hallway_stream_open(HallwayChannel *channel,
										  const ProtobufCMessage *request);

/*
 * The same, with the request to send if the sidecar does not know the relation's
 * handle, or the connection was lost before an answer (a second try is made by
 * hallway_stream_next itself). hallway_relation_scan() makes both.
 */
extern HallwayStream *hallway_stream_open_resend(HallwayChannel *channel,
												 const ProtobufCMessage *request,
												 const ProtobufCMessage *resend);

typedef enum HallwayStreamStatus
{
	HALLWAY_STREAM_MESSAGE,		/* a message is there */
	HALLWAY_STREAM_END,			/* ended well; no more */
	HALLWAY_STREAM_WAIT,		/* nothing there yet (only if !wait) */
	HALLWAY_STREAM_ERROR		/* hallway_stream_error() says why */
} HallwayStreamStatus;

/*
 * The next message's bytes, valid until the next call on this stream. If wait
 * is false, reads what the socket has and does not block. A stream buffers a
 * message and one window (4 MiB) beyond it; flow control holds back the rest.
 */
extern HallwayStreamStatus hallway_stream_next(HallwayStream *stream, bool wait,
											   const uint8 **data, size_t *len);
extern Hallway__V1__Error *hallway_stream_error(HallwayStream *stream);
/* A message, the end or an error is there already, without reading the socket. */
extern bool hallway_stream_ready(HallwayStream *stream);
/* Requests wait for room in the socket: somebody must wait for that as well. */
extern bool hallway_stream_unsent(HallwayStream *stream);
extern void hallway_stream_close(HallwayStream *stream);	/* NULL is fine */
extern pgsocket hallway_stream_socket(HallwayStream *stream);

/*
 * Who waits on the socket by other means is bound by hallway.max_wait too: when
 * a wait that begins now ends (0: no bound, as with statement_timeout), and the
 * Error that says so.
 */
extern TimestampTz hallway_wait_deadline(void);
/* A number that the requests of one statement have in common. */
extern uint64 hallway_statement_number(void);
extern Hallway__V1__Error *hallway_wait_error(bool is_write);

/* ---- error.c: Error of the sidecar -> ereport -------------------------- */

/* rel may be NULL; gives TABLE and, by error->column_name, COLUMN. */
pg_noreturn extern void hallway_throw(const Hallway__V1__Error *error, Relation rel);
extern void hallway_warn(const char *text);
/* Text of the sidecar's for people: a copy that this database can show. */
extern char *hallway_server_text(const char *text);

/* ---- rows.c, write.c: batches of binary tuples <-> slots ---------------- */

/* A ScanResponse: exactly one of header, footer, progress and tuples is set. */
typedef struct HallwayScanMessage
{
	Hallway__V1__ScanHeader *header;	/* in the current memory context */
	Hallway__V1__ScanFooter *footer;
	Hallway__V1__ScanStats *progress;
	const uint8 *tuples;		/* within the message's bytes: not copied */
	size_t		len;
	uint32		rows;
} HallwayScanMessage;

/* Takes a message of a stream apart; ERROR 08P01 if it is not one. */
extern void hallway_scan_message(const uint8 *data, size_t len, HallwayScanMessage *out);

typedef struct HallwayRowReader HallwayRowReader;

/*
 * Reads tuples whose columns are attnums (a list of int, in the order they
 * travel); attributes not among them read NULL. Lives in the current context.
 */
extern HallwayRowReader *hallway_reader_create(TupleDesc desc, List *attnums);

/*
 * Starts a batch. data must stay until the last row of it has been read, and is
 * written to: short values are made varlenas where they lie, so a batch can be
 * read once only. Values of a row may point into it.
 */
extern void hallway_reader_batch(HallwayRowReader *reader, const uint8 *data,
								 size_t len, uint32 rows);

/*
 * The next row into slot (a virtual one, of desc), which is cleared: false at the batch's end.
 * By-reference values may point into memory of the reader that lasts until the
 * next row. Anything malformed is an ERROR 08P01.
 */
extern bool hallway_reader_next(HallwayRowReader *reader, TupleTableSlot *slot);

typedef struct HallwayRowWriter HallwayRowWriter;

extern HallwayRowWriter *hallway_writer_create(TupleDesc desc, List *attnums);
extern void hallway_writer_reset(HallwayRowWriter *writer);
extern void hallway_writer_begin(HallwayRowWriter *writer, int ncolumns);
/* One value of a type; for parameters, keys and columns alike. */
extern void hallway_writer_value(HallwayRowWriter *writer, Oid type, Datum value, bool isnull);
extern void hallway_writer_data(HallwayRowWriter *writer, const uint8 **data, size_t *len);
/* The same encoding for one value alone: a Value message. */
extern void hallway_encode_value(Oid type, Datum value, bool isnull, Hallway__V1__Value *out);


/* A server string in UTF-8: the string itself if nothing is to be converted. */
extern char *hallway_to_utf8(char *text);

/* ---- numeric.c: numerics without numeric_recv() -------------------------- */

/* Whether hallway_numeric_decode() may be used in this server. */
extern bool hallway_numeric_in_place(void);
/* Makes the value of the bytes, in them; false: numeric_recv() must. */
extern bool hallway_numeric_decode(uint8 *data, uint32 len, int32 typmod, Datum *result);


/* ---- types.c: kinds of types --------------------------------------------- */

/* Fills a Type message for a type with typmod, domains taken off. */
extern void hallway_describe_type(Oid type, int32 typmod, Hallway__V1__Type *out);
/* Of a type that is no domain; an array's kind is its element's. */
extern Hallway__V1__Kind hallway_type_kind(Oid type);
extern Oid	hallway_type_element(Oid type);

/* ---- relation.c: foreign tables as the sidecar sees them --------------- */

/*
 * How a table is cached: its options, its server's, or the defaults. Times are
 * milliseconds.
 */
typedef struct HallwayCachePolicy
{
	Hallway__V1__CacheMode mode;
	bool		shared;			/* cache_scope 'server' */
	bool		update_reads;	/* rows that feed a write may be cached ones */
	bool		max_age_given;	/* by the table or server */
	double		max_age;
	double		refresh_every;
	double		stale_while_error;	/* 0: errors are errors */
} HallwayCachePolicy;

/*
 * A relation on a channel as one user sees it: definition, handle, and what
 * Describe answered. Kept by (relation, user) and dropped by catalog
 * invalidation of the server, mapping, table or type.
 */
typedef struct HallwayRelation
{
	Oid			relid;			/* InvalidOid: a server alone */
	Oid			serverid;
	Oid			userid;
	HallwayChannel *channel;
	int			ncolumns;
	AttrNumber *attnums;		/* column index -> attribute number */
	int		   *columns;		/* attribute number - 1 -> column index, or -1 */
	const Hallway__V1__DescribeResponse *description;
	HallwayCachePolicy cache;
	bool		updatable;		/* option of the table or server */
	bool		deletes_by_update;	/* it has the option delete_sets */
} HallwayRelation;

/*
 * Looks up, connects and describes. Valid until the end of the transaction,
 * even if an invalidation makes the next call build another one.
 */
extern HallwayRelation *hallway_relation(Oid relid, Oid userid);
/* The same without a word to anybody: NULL if it is not known already. */
extern HallwayRelation *hallway_relation_known(Oid relid, Oid userid);
/*
 * As it was described on the connection that stands as far as we know: what
 * hallway_relation() would find at once. NULL: it would have to ask.
 */
extern HallwayRelation *hallway_relation_standing(Oid relid, Oid userid);
extern HallwayRelation *hallway_relation_server(Oid serverid, Oid userid);

/*
 * A unary call about a relation: fills *ref (the relation field within
 * request), sends the definition if the sidecar may not have it, and again if
 * it answers unknown_handle. Errors as in hallway_call.
 */
extern ProtobufCMessage *hallway_relation_call(HallwayRelation *relation, const char *method,
											   ProtobufCMessage *request,
											   Hallway__V1__RelationRef **ref,
											   const ProtobufCMessageDescriptor *answer,
											   bool is_write, Hallway__V1__Error **error);
/*
 * Opens Scan on a relation: fills request->relation, and stands ready to send
 * the definition if the sidecar has been restarted meanwhile. Lives in the
 * current memory context. Use this rather than hallway_stream_open().
 */
extern HallwayStream *hallway_relation_scan(HallwayRelation *relation,
											Hallway__V1__ScanRequest *request);
/* The reference alone, with the definition if asked for. */
extern Hallway__V1__RelationRef *hallway_relation_ref(HallwayRelation *relation, bool definition);

/* A relation's definition as a user sees it, packed, without asking anybody. */
extern bytea *hallway_relation_packed(Oid relid, Oid userid);

/* The user as whom a scan or modification runs: checkAsUser or GetUserId(). */
extern Oid	hallway_scan_user(ForeignScanState *node);
extern Oid	hallway_modify_user(ResultRelInfo *rinfo, EState *estate);

/* ---- quals.c: PostgreSQL expressions -> neutral ones -------------------- */

typedef struct HallwayQualContext
{
	PlannerInfo *root;
	RelOptInfo *baserel;
	HallwayRelation *relation;
	List	   *params;			/* Exprs, in order of Parameter.index */
	List	   *parameters;		/* their Parameter messages */
} HallwayQualContext;

/* The neutral form, or NULL if it cannot be shipped; adds to cxt->params. */
extern Hallway__V1__Expr *hallway_ship_expr(HallwayQualContext *cxt, Expr *expr);
extern Hallway__V1__SortKey *hallway_ship_sortkey(HallwayQualContext *cxt, PathKey *pathkey);
/* The column's index if expr is nothing but a column of the relation, or -1. */
extern int	hallway_column_index(HallwayQualContext *cxt, Expr *expr);

/* ---- plan.c ------------------------------------------------------------- */

/*
 * What a ForeignScan carries to execution. hallway_scan_plan() unpacks it from
 * fdw_private, where it stands as copyable nodes. Nothing here depends on a
 * credential. ForeignScan.fdw_exprs are the parameters, then (if limit) LIMIT's
 * count and OFFSET's; fdw_recheck_quals are the conjuncts called exact.
 */
typedef struct HallwayScanPlan
{
	bytea	   *plan;			/* PlanResponse.plan */
	List	   *attnums;		/* of int: columns fetched, in order */
	List	   *exact;			/* of int: for each of fdw_recheck_quals, its
								 * conjunct's index in the plan */
	int			nparams;		/* leading entries of fdw_exprs */
	int			ordering;		/* ScanRequest.ordering */
	bool		has_limit;		/* fdw_exprs ends with count and offset */
	List	   *explain;		/* for explain.c: verdicts and reasons */
	List	   *cache;			/* for cache_plan.c; NIL: no cache */
} HallwayScanPlan;

extern void hallway_scan_plan(const ForeignScan *scan, HallwayScanPlan *out);
/* Before a planner callback asks the sidecar: 42501 if the query may not run. */
extern void hallway_check_permissions(PlannerInfo *root);
/* Option async_capable of the table, else of the server, else true. */
extern bool hallway_path_async(ForeignPath *path);

extern void hallwayGetForeignRelSize(PlannerInfo *root, RelOptInfo *baserel, Oid relid);
extern void hallwayGetForeignPaths(PlannerInfo *root, RelOptInfo *baserel, Oid relid);
extern ForeignScan *hallwayGetForeignPlan(PlannerInfo *root, RelOptInfo *baserel, Oid relid,
										  ForeignPath *path, List *tlist,
										  List *scan_clauses, Plan *outer_plan);

/* upper.c */
extern void hallwayGetForeignUpperPaths(PlannerInfo *root, UpperRelationKind stage,
										RelOptInfo *input_rel, RelOptInfo *output_rel,
										void *extra);

/* ---- fetch.c: one Scan RPC as rows -------------------------------------- */

typedef struct HallwayFetch HallwayFetch;

typedef enum HallwayFetchStatus
{
	HALLWAY_FETCH_ROW,			/* slot holds a row */
	HALLWAY_FETCH_END,			/* no more rows; stays so */
	HALLWAY_FETCH_WAIT,			/* nothing there yet (only if !wait) */
	HALLWAY_FETCH_FAILED		/* before the first row, if that is tolerated */
} HallwayFetchStatus;

/*
 * Sends request, whose relation and columns are filled here: the columns are
 * attnums (of int) of rel, as userid sees it. Lives in the current memory
 * context, as request must. Does not wait for the answer.
 */
extern HallwayFetch *hallway_fetch_open(Relation rel, Oid userid,
										Hallway__V1__ScanRequest *request, List *attnums);
/* The same for a plan whose rows are groups, which are as groups says. */
extern HallwayFetch *hallway_fetch_open_groups(Relation rel, Oid userid,
											   Hallway__V1__ScanRequest *request,
											   TupleDesc groups);
/* From here on a failure before the first row is a status, not an ERROR. */
extern void hallway_fetch_tolerate(HallwayFetch *fetch);
extern const Hallway__V1__Error *hallway_fetch_error(HallwayFetch *fetch);
/*
 * Which attributes must travel so that attnums can be read: a generated column is
 * computed here from others.
 */
extern List *hallway_fetched_attnums(Relation rel, List *attnums);
/* The next row into slot, a virtual one; failures leave by hallway_throw(). */
extern HallwayFetchStatus hallway_fetch_next(HallwayFetch *fetch, TupleTableSlot *slot, bool wait);
/* Waits for the header if there is none yet; never NULL. */
extern const Hallway__V1__ScanHeader *hallway_fetch_header(HallwayFetch *fetch);
/* A copy of it that outlives the fetch. */
extern Hallway__V1__ScanHeader *hallway_fetch_copy_header(HallwayFetch *fetch, MemoryContext context);
/* NULL until the end has been reached. */
extern const Hallway__V1__ScanFooter *hallway_fetch_footer(const HallwayFetch *fetch);
/* The footer's figures, or (if progress was asked for) those so far; or NULL. */
extern const Hallway__V1__ScanStats *hallway_fetch_stats(const HallwayFetch *fetch);
/* Back to the first row without asking again: false if that cannot be done. */
extern bool hallway_fetch_rewind(HallwayFetch *fetch);
extern bool hallway_fetch_rewindable(const HallwayFetch *fetch);
/* hallway_fetch_next() has something to say without reading the socket. */
extern bool hallway_fetch_ready(HallwayFetch *fetch);
extern bool hallway_fetch_unsent(HallwayFetch *fetch);
extern pgsocket hallway_fetch_socket(HallwayFetch *fetch);
extern void hallway_fetch_close(HallwayFetch *fetch);	/* NULL is fine */

/* ---- scan.c, scan_explain.c, async.c -------------------------------------- */

extern void hallwayBeginForeignScan(ForeignScanState *node, int eflags);
extern TupleTableSlot *hallwayIterateForeignScan(ForeignScanState *node);
extern bool hallwayRecheckForeignScan(ForeignScanState *node, TupleTableSlot *slot);
extern void hallwayReScanForeignScan(ForeignScanState *node);
extern void hallwayEndForeignScan(ForeignScanState *node);
/* For async.c: sends the request if that has not been done. */
extern void hallway_scan_start(ForeignScanState *node);
/* From here on Iterate returns an empty slot instead of waiting (or again
 * waits); the result says whether the last one did so before the end. */
extern void hallway_scan_nonblocking(ForeignScanState *node, bool on);
extern bool hallway_scan_starved(ForeignScanState *node);
extern bool hallway_scan_ready(ForeignScanState *node);
extern bool hallway_scan_unsent(ForeignScanState *node);
/* The socket of the running scan; PGINVALID_SOCKET if there is none. */
extern pgsocket hallway_scan_socket(ForeignScanState *node);
extern bool hallwayIsForeignPathAsyncCapable(ForeignPath *path);
extern void hallwayForeignAsyncRequest(AsyncRequest *areq);
extern void hallwayForeignAsyncConfigureWait(AsyncRequest *areq);
extern void hallwayForeignAsyncNotify(AsyncRequest *areq);

/*
 * For explain.c: evaluates parameters that are known without running. The cache
 * comes first, for what is read there is asked of nobody.
 */
extern bool hallway_scan_explain_cache(ForeignScanState *node, struct ExplainState *es);
/* After true. */
extern void hallway_scan_explain_inner(ForeignScanState *node, struct ExplainState *es);
extern Hallway__V1__ScanHeader *hallway_scan_explain(ForeignScanState *node);
extern const Hallway__V1__ScanStats *hallway_scan_stats(ForeignScanState *node);

/* ---- analyze.c ---------------------------------------------------------- */

extern bool hallwayAnalyzeForeignTable(Relation relation, AcquireSampleRowsFunc *func,
									   BlockNumber *totalpages);

/* ---- modify*.c ---------------------------------------------------------- */

/* What PlanForeignModify says to execution, and to explain.c. */
typedef struct HallwayModifyPlan
{
	List	   *keys;			/* attnums that identify a row; UPDATE, DELETE */
	List	   *columns;		/* INSERT: attnums given; UPDATE: in SET */
	List	   *returning;		/* attnums wanted back from the API */
	List	   *of_values;		/* INSERT: attnums that rows of VALUES give */
	bool		do_nothing;		/* ON CONFLICT DO NOTHING */
} HallwayModifyPlan;

extern void hallway_modify_plan(List *fdw_private, HallwayModifyPlan *out);

extern int	hallwayIsForeignRelUpdatable(Relation rel);
extern void hallwayAddForeignUpdateTargets(PlannerInfo *root, Index rtindex,
										   RangeTblEntry *target_rte, Relation target_relation);
extern List *hallwayPlanForeignModify(PlannerInfo *root, ModifyTable *plan,
									  Index resultRelation, int subplan_index);
extern void hallwayBeginForeignModify(ModifyTableState *mtstate, ResultRelInfo *rinfo,
									  List *fdw_private, int subplan_index, int eflags);
extern TupleTableSlot *hallwayExecForeignInsert(EState *estate, ResultRelInfo *rinfo,
												TupleTableSlot *slot, TupleTableSlot *planSlot);
extern TupleTableSlot *hallwayExecForeignUpdate(EState *estate, ResultRelInfo *rinfo,
												TupleTableSlot *slot, TupleTableSlot *planSlot);
extern TupleTableSlot *hallwayExecForeignDelete(EState *estate, ResultRelInfo *rinfo,
												TupleTableSlot *slot, TupleTableSlot *planSlot);
extern TupleTableSlot **hallwayExecForeignBatchInsert(EState *estate, ResultRelInfo *rinfo,
													  TupleTableSlot **slots,
													  TupleTableSlot **planSlots,
													  int *numSlots);
extern int	hallwayGetForeignModifyBatchSize(ResultRelInfo *rinfo);
extern void hallwayEndForeignModify(EState *estate, ResultRelInfo *rinfo);
extern void hallwayBeginForeignInsert(ModifyTableState *mtstate, ResultRelInfo *rinfo);
extern void hallwayEndForeignInsert(EState *estate, ResultRelInfo *rinfo);
/* Puts its hook into ExecutorRun. */
extern void hallway_modify_queue_init(void);

/* ---- whole.c ---------------------------------------------------------------- */

/* Puts its hook into ExecutorRun. */
extern void hallway_whole_init(void);

/* ---- cache_cost.c: the planner's hook --------------------------------------- */

extern void hallway_cache_cost_init(void);

/* ---- cache_session.c: for modify.c ---------------------------------------- */

/* ModifyResponse.write_number of a write to the relation's server. */
extern void hallway_note_write(HallwayRelation *relation, uint64 number);

/* ---- xact.c ------------------------------------------------------------- */

/* Rows of one table, by what was done to them. */
typedef struct HallwayRowCounts
{
	uint64		inserted;
	uint64		updated;
	uint64		deleted;
} HallwayRowCounts;

/*
 * Before an API write: assigns xids, makes COMMIT durable, remembers the channel.
 * rows is how many may be in the API from now on; 0 if the sidecar only keeps them
 * until the transaction commits. compensate: a rollback has them undone.
 */
extern void hallway_xact_begin_write(HallwayChannel *channel, Relation rel, uint64 rows,
									 bool compensate, Hallway__V1__Transaction *out);
/*
 * After it: what of those rows now is otherwise in the API than before. Not called
 * when nobody knows what the API has done (08007, or cancelled).
 */
extern void hallway_xact_end_write(Relation rel, uint64 rows, bool compensate,
								   const HallwayRowCounts *counts);
/* Whether this transaction has, or may have, changed anything in an API. */
extern bool hallway_xact_wrote(void);
/* True once for each relation and transaction: for notices. */
extern bool hallway_xact_first(Oid relid);
extern void hallway_xact_init(void);

/* ---- explain.c, import.c ------------------------------------------------ */

extern void hallwayExplainForeignScan(ForeignScanState *node, struct ExplainState *es);
extern void hallwayExplainForeignModify(ModifyTableState *mtstate, ResultRelInfo *rinfo,
										List *fdw_private, int subplan_index,
										struct ExplainState *es);
extern List *hallwayImportForeignSchema(ImportForeignSchemaStmt *stmt, Oid serverOid);
extern void hallway_import_init(void);

/* ---- options.c ---------------------------------------------------------- */

/* The sidecar's address of a server: its option, else hallway.address. */
extern const char *hallway_server_address(ForeignServer *server);
/* The option alone, the server's or its wrapper's; NULL: there is none. */
extern const char *hallway_server_address_option(ForeignServer *server);
/* The option's value, or NULL. */
extern const char *hallway_option(List *options, const char *name);
/* A boolean option of the table, else of its server, else otherwise. */
extern bool hallway_boolean_option(ForeignTable *table, ForeignServer *server,
								   const char *name, bool otherwise);
/* An option's value of the table, else of its server, else otherwise. */
extern const char *hallway_table_option(ForeignTable *table, ForeignServer *server,
										const char *name, const char *otherwise);
/* The longest time that an option or setting takes: 3650 days, in milliseconds. */
#define HALLWAY_MAX_DURATION (3650.0 * 24 * 60 * 60 * 1000)
/* Milliseconds of "90s", "5 min"; -1: not a time, and *hint (or NULL) says more. */
extern double hallway_duration(const char *value, const char **hint);
/* Most rows of one Modify; the sidecar takes no more. */
#define HALLWAY_MAX_BATCH 100000
/* The column that delete_sets names, and the text of its value; NULL: malformed. */
extern const char *hallway_delete_sets(const char *value, const char **text);
/* True for options of that catalog which the sidecar is not told. */
extern bool hallway_option_is_ours(const char *name, Oid catalog);
/* Why an address will not do (a sentence), or NULL. */
extern const char *hallway_check_address(const char *address);

/* ---- hallway.c: GUCs ---------------------------------------------------- */

extern char *hallway_address;	/* "unix:/run/hallway/hallway.sock" */
extern int	hallway_connect_timeout;	/* milliseconds */
extern int	hallway_max_wait;	/* milliseconds without an answer; 0: no bound */
extern bool hallway_allow_inline_secrets;
extern double hallway_max_age;	/* milliseconds; -1: what the table says */

typedef enum HallwayReadFrom
{
	READ_FROM_AUTO,
	READ_FROM_CACHE				/* the API is never called */
} HallwayReadFrom;

extern int	hallway_read_from;	/* a HallwayReadFrom */

/* What a ROLLBACK does about rows that were written already. */
typedef enum HallwayOnRollback
{
	ON_ROLLBACK_AUTO,			/* the setting alone: what the options say */
	ON_ROLLBACK_KEEP,
	ON_ROLLBACK_COMPENSATE
} HallwayOnRollback;

/* When the API is called. */
typedef enum HallwayWriteAt
{
	WRITE_AT_AUTO,				/* the setting alone: what the options say */
	WRITE_AT_STATEMENT,
	WRITE_AT_COMMIT,
	WRITE_AT_AFTER_COMMIT
} HallwayWriteAt;

extern int	hallway_on_rollback;	/* a HallwayOnRollback */
extern int	hallway_write_at;	/* a HallwayWriteAt */
extern bool hallway_dry_run;	/* requests are shown, and not sent */
extern int	hallway_max_queued;	/* kB that wait for a commit */

#endif							/* HALLWAY_H */
