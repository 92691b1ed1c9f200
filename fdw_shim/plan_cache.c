/*-------------------------------------------------------------------------
 *
 * plan_cache.c
 *		The Plan RPC, and its answers kept for later queries.
 *
 * An answer is for the shape of a query: its conditions with the values of
 * constants taken out. So SELECT ... WHERE id = 1 and ... WHERE id = 2 cost one
 * RPC between them. Where the sidecar says that the verdicts depend on the
 * values, an answer is reused for equal values only.
 *
 * Answers are kept by foreign table, and forgotten when the table, its server
 * or a user mapping changes, and when the connection to the sidecar is another
 * one than that which brought them: it may be another sidecar by now. They are
 * only verdicts: a scan states the plan it was promised, and the sidecar says
 * what it cannot keep of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "plan.h"

/* A relation's answers are all dropped when they take more than this. */
#define MAX_ANSWERS_SIZE	(512 * 1024)

typedef struct RelationAnswers
{
	Oid			relid;			/* hash key */
	bool		stale;			/* set by invalidation; freed at the next use */
	MemoryContext cxt;			/* holds all of the following; or NULL */
	HTAB	   *answers;
	Size		size;			/* of bytes in answers */
} RelationAnswers;

typedef struct AnswerKey
{
	uint64		hash;			/* of the bytes */
	Oid			userid;
	uint32		by_values;		/* 1: of a request with its values, which may have
								 * none and then looks like its shape. No padding:
								 * all bytes are hashed, and a struct's copy need
								 * not take padding along */
} AnswerKey;

typedef struct Answer
{
	AnswerKey	key;
	uint64		generation;		/* of the channel that brought it */
	bytea	   *request;		/* the bytes themselves */
	bytea	   *response;		/* NULL: ask by the values, too */
} Answer;

static HTAB *relations = NULL;

static RelationAnswers *relation_answers(Oid relid);
static void drop_stale(void);
static Answer *find_answer(RelationAnswers *kept, HallwayRelation *relation,
						   bytea *request, bool by_values);
static void keep_answer(RelationAnswers *kept, HallwayRelation *relation,
						bytea *request, bool by_values, bytea *response);
static AnswerKey answer_key(HallwayRelation *relation, bytea *request, bool by_values);
static bytea *pack(const ProtobufCMessage *message);
static bytea *pack_shape(Hallway__V1__PlanRequest *request, List *parameters);
static bytea *copy_bytea(MemoryContext cxt, const bytea *source);
static void check_answer(const Hallway__V1__PlanRequest *request,
						 const Hallway__V1__PlanResponse *answer);
static void forget_relation(Datum arg, Oid relid);
static void forget_all(Datum arg, int cacheid, uint32 hashvalue);


const Hallway__V1__PlanResponse *
hallway_cached_plan(HallwayRelation *relation, Hallway__V1__PlanRequest *request,
					List *parameters)
{
	RelationAnswers *kept = relation_answers(relation->relid);
	bytea	   *shape = pack_shape(request, parameters);
	bytea	   *full = NULL;
	Answer	   *found = find_answer(kept, relation, shape, false);
	Hallway__V1__PlanResponse *answer;
	Hallway__V1__Error *error = NULL;
	bytea	   *response;

	if (found != NULL && found->response == NULL)
	{
		full = pack(&request->base);
		found = find_answer(kept, relation, full, true);
	}
	if (found != NULL)
		return (const Hallway__V1__PlanResponse *)
			hallway_unpack(&hallway__v1__plan_response__descriptor,
						   (uint8 *) VARDATA(found->response),
						   VARSIZE(found->response) - VARHDRSZ);

	if (full == NULL)
		full = pack(&request->base);
	answer = (Hallway__V1__PlanResponse *)
		hallway_relation_call(relation, "Plan", &request->base, &request->relation,
							  &hallway__v1__plan_response__descriptor, false, &error);
	if (answer == NULL)
		hallway_throw(error, NULL);
	check_answer(request, answer);

	/* The call may have processed invalidations, or connected anew. */
	kept = relation_answers(relation->relid);
	response = pack(&answer->base);
	if (answer->value_dependent)
	{
		keep_answer(kept, relation, shape, false, NULL);
		keep_answer(kept, relation, full, true, response);
	}
	else
		keep_answer(kept, relation, shape, false, response);
	return answer;
}

/* What is kept for a relation; without what has become stale or too much. */
static RelationAnswers *
relation_answers(Oid relid)
{
	RelationAnswers *kept;
	bool		found;

	if (relations == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(RelationAnswers)};

		relations = hash_create("Hallway plan answers", 32, &ctl, HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(FOREIGNTABLEREL, forget_all, (Datum) 0);
		CacheRegisterSyscacheCallback(FOREIGNSERVEROID, forget_all, (Datum) 0);
		CacheRegisterSyscacheCallback(FOREIGNDATAWRAPPEROID, forget_all, (Datum) 0);
		CacheRegisterSyscacheCallback(USERMAPPINGOID, forget_all, (Datum) 0);
	}

	if (hash_search(relations, &relid, HASH_FIND, NULL) == NULL)
		drop_stale();
	kept = hash_search(relations, &relid, HASH_ENTER, &found);
	if (!found)
	{
		kept->cxt = NULL;
		kept->stale = true;
	}
	if (kept->stale || kept->size > MAX_ANSWERS_SIZE)
	{
		MemoryContext cxt;
		HASHCTL		ctl = {.keysize = sizeof(AnswerKey),.entrysize = sizeof(Answer)};

		if (kept->cxt != NULL)
			MemoryContextDelete(kept->cxt);
		kept->cxt = NULL;
		kept->stale = true;		/* should the following fail */

		cxt = AllocSetContextCreate(CacheMemoryContext, "Hallway plan answers",
									ALLOCSET_SMALL_SIZES);
		ctl.hcxt = cxt;
		kept->answers = hash_create("Hallway plan answers of a relation", 16, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		kept->cxt = cxt;
		kept->size = 0;
		kept->stale = false;
	}
	return kept;
}

/* Relations that are no more must not pile up in a long session. */
static void
drop_stale(void)
{
	HASH_SEQ_STATUS seq;
	RelationAnswers *kept;

	hash_seq_init(&seq, relations);
	while ((kept = hash_seq_search(&seq)) != NULL)
	{
		if (!kept->stale)
			continue;
		if (kept->cxt != NULL)
			MemoryContextDelete(kept->cxt);
		(void) hash_search(relations, &kept->relid, HASH_REMOVE, NULL);
	}
}

static Answer *
find_answer(RelationAnswers *kept, HallwayRelation *relation,
			bytea *request, bool by_values)
{
	AnswerKey	key = answer_key(relation, request, by_values);
	Answer	   *found = hash_search(kept->answers, &key, HASH_FIND, NULL);

	if (found == NULL ||
		found->generation != hallway_channel_generation(relation->channel) ||
		VARSIZE(found->request) != VARSIZE(request) ||
		memcmp(found->request, request, VARSIZE(request)) != 0)
		return NULL;
	return found;
}

/* A former answer of the same key is out of date, and replaced. */
static void
keep_answer(RelationAnswers *kept, HallwayRelation *relation,
			bytea *request, bool by_values, bytea *response)
{
	AnswerKey	key = answer_key(relation, request, by_values);
	bytea	   *request_copy = copy_bytea(kept->cxt, request);
	bytea	   *response_copy = response != NULL ? copy_bytea(kept->cxt, response) : NULL;
	Answer	   *answer;
	bool		found;

	answer = hash_search(kept->answers, &key, HASH_ENTER, &found);
	if (found)
	{
		pfree(answer->request);
		if (answer->response != NULL)
			pfree(answer->response);
	}
	else
		kept->size += sizeof(Answer) + VARSIZE(request) +
			(response != NULL ? VARSIZE(response) : 0);
	answer->generation = hallway_channel_generation(relation->channel);
	answer->request = request_copy;
	answer->response = response_copy;
}

static AnswerKey
answer_key(HallwayRelation *relation, bytea *request, bool by_values)
{
	AnswerKey	key;

	memset(&key, 0, sizeof(key));
	key.userid = relation->userid;
	key.by_values = by_values;
	key.hash = hash_bytes_extended((unsigned char *) VARDATA(request),
								   VARSIZE(request) - VARHDRSZ, 0);
	return key;
}

static bytea *
pack(const ProtobufCMessage *message)
{
	size_t		len = protobuf_c_message_get_packed_size(message);
	bytea	   *result = palloc(len + VARHDRSZ);

	SET_VARSIZE(result, len + VARHDRSZ);
	protobuf_c_message_pack(message, (uint8 *) VARDATA(result));
	return result;
}

/* The request without the values in it; it is as before afterwards. */
static bytea *
pack_shape(Hallway__V1__PlanRequest *request, List *parameters)
{
	uint64		limit_rows = request->limit_rows;
	bool	   *known = palloc(sizeof(bool) * list_length(parameters));
	Hallway__V1__Value **values = palloc(sizeof(*values) * list_length(parameters));
	bytea	   *result;
	ListCell   *lc;

	Assert(request->relation == NULL);
	request->limit_rows = 0;
	foreach(lc, parameters)
	{
		Hallway__V1__Parameter *parameter = lfirst(lc);

		known[foreach_current_index(lc)] = parameter->known;
		values[foreach_current_index(lc)] = parameter->value;
		parameter->known = false;
		parameter->value = NULL;
	}

	result = pack(&request->base);

	request->limit_rows = limit_rows;
	foreach(lc, parameters)
	{
		Hallway__V1__Parameter *parameter = lfirst(lc);

		parameter->known = known[foreach_current_index(lc)];
		parameter->value = values[foreach_current_index(lc)];
	}
	return result;
}

static bytea *
copy_bytea(MemoryContext cxt, const bytea *source)
{
	bytea	   *result = MemoryContextAlloc(cxt, VARSIZE(source));

	memcpy(result, source, VARSIZE(source));
	return result;
}

/* The planner relies on these; nothing that arrives is trusted. */
static void
check_answer(const Hallway__V1__PlanRequest *request,
			 const Hallway__V1__PlanResponse *answer)
{
	bool		sound = answer->n_verdicts == request->n_conjuncts;

	for (size_t i = 0; i < answer->n_exact_orderings; i++)
		sound = sound && answer->exact_orderings[i] < request->n_orderings;
	/* Written so that NaN fails, too. */
	sound = sound && answer->rows >= 0 && answer->rows < 1e18 &&
		answer->width >= 0 && answer->width < MaxAllocSize &&
		answer->startup_cost >= 0 && answer->startup_cost <= answer->total_cost &&
		answer->total_cost < 1e18;

	if (!sound)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the sidecar's answer to Plan does not fit the question"),
				 errdetail("%zu verdicts for %zu conditions; rows %g, width %g, cost %g to %g.",
						   answer->n_verdicts, request->n_conjuncts,
						   answer->rows, answer->width,
						   answer->startup_cost, answer->total_cost),
				 errhint("Check that extension and sidecar have the same version.")));
}

/*
 * Invalidations may come at any lock, in the middle of using an entry: nothing
 * is freed here. InvalidOid means every relation.
 */
static void
forget_relation(Datum arg, Oid relid)
{
	RelationAnswers *kept;

	if (!OidIsValid(relid))
	{
		forget_all(arg, 0, 0);
		return;
	}
	kept = hash_search(relations, &relid, HASH_FIND, NULL);
	if (kept != NULL)
		kept->stale = true;
}

static void
forget_all(Datum arg, int cacheid, uint32 hashvalue)
{
	HASH_SEQ_STATUS seq;
	RelationAnswers *kept;

	hash_seq_init(&seq, relations);
	while ((kept = hash_seq_search(&seq)) != NULL)
		kept->stale = true;
}
