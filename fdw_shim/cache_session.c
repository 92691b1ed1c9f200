/*-------------------------------------------------------------------------
 *
 * cache_session.c
 *		What this session did that its cached reads must know of, and which
 *		regions it uses.
 *
 * After a write the cache shows it a moment later. Until the sidecar says that
 * it does, this session reads the API.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "cache.h"

/* How long a read waits for the cache to show a write, in milliseconds. */
#define SETTLE_WAIT 100

/* A region's use is told once in so many milliseconds. */
#define TOUCH_INTERVAL 10000
/* Uses remembered; then all are forgotten, and told anew. */
#define MAX_TOUCHED 1024

typedef struct ServerWrites
{
	Oid			serverid;		/* hash key */
	uint64		number;			/* of the last write */
	char		instance[64];	/* who gave it */
	TimestampTz settled_at;		/* regions from then on show it; 0: not yet */
} ServerWrites;

typedef struct TouchKey
{
	int64		cache_id;
	int64		hash;
} TouchKey;

typedef struct Touched
{
	TouchKey	key;
	TimestampTz told;
} Touched;

static HTAB *writes = NULL;
static HTAB *touched = NULL;

static bool settle(HallwayRelation *relation, ServerWrites *last);


void
hallway_note_write(HallwayRelation *relation, uint64 number)
{
	ServerWrites *last;

	if (number == 0)
		return;
	if (writes == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(ServerWrites)};

		writes = hash_create("Hallway writes", 8, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	last = hash_search(writes, &relation->serverid, HASH_ENTER, NULL);
	last->number = number;
	strlcpy(last->instance, hallway_channel_instance(relation->channel), sizeof(last->instance));
	last->settled_at = 0;
}

bool
hallway_writes_settled(HallwayRelation *relation, TimestampTz taken)
{
	ServerWrites *last;

	if (writes == NULL)
		return true;
	last = hash_search(writes, &relation->serverid, HASH_FIND, NULL);
	if (last == NULL)
		return true;
	if (last->settled_at == 0 && !settle(relation, last))
		return false;
	return taken == 0 || taken > last->settled_at;
}

/* Whatever goes wrong here, the API can still be read. */
static bool
settle(HallwayRelation *relation, ServerWrites *last)
{
	Hallway__V1__SettleRequest request = HALLWAY__V1__SETTLE_REQUEST__INIT;
	Hallway__V1__SettleResponse *answer;
	Hallway__V1__Error *error = NULL;
	uint64		number = last->number;

	request.write_number = number;
	request.instance_id = pstrdup(last->instance);
	request.wait_ms = SETTLE_WAIT;
	answer = (Hallway__V1__SettleResponse *)
		hallway_relation_call(relation, "Settle", &request.base, &request.relation,
							  &hallway__v1__settle_response__descriptor, false, &error);
	if (answer == NULL || !answer->settled || last->number != number)
		return false;
	last->settled_at = GetCurrentTimestamp();
	return true;
}

void
hallway_touch(HallwayRelation *relation, int64 cache_id, int64 hash)
{
	TouchKey	key = {.cache_id = cache_id,.hash = hash};
	TimestampTz now = GetCurrentTimestamp();
	Touched    *entry;
	bool		found;
	Hallway__V1__TouchRequest request = HALLWAY__V1__TOUCH_REQUEST__INIT;
	Hallway__V1__RegionUse use = HALLWAY__V1__REGION_USE__INIT;
	Hallway__V1__RegionUse *uses = &use;

	if (touched != NULL && hash_get_num_entries(touched) >= MAX_TOUCHED)
	{
		hash_destroy(touched);
		touched = NULL;
	}
	if (touched == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(TouchKey),.entrysize = sizeof(Touched)};

		touched = hash_create("Hallway regions used", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(touched, &key, HASH_ENTER, &found);
	if (found && !TimestampDifferenceExceeds(entry->told, now, TOUCH_INTERVAL))
		return;
	entry->told = now;

	use.cache_id = cache_id;
	use.hash = hash;
	request.n_uses = 1;
	request.uses = &uses;
	hallway_send(relation->channel, "Touch", &request.base);
}
