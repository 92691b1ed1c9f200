/*-------------------------------------------------------------------------
 *
 * cache_explain.c
 *		What EXPLAIN says of where a scan of a cached table reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "cache_scan.h"
#include "compat.h"

static void explain_choices(HallwayCacheScan *cache, ExplainState *es);

bool
hallway_cache_explain(HallwayCacheScan *cache, const char *filled, ExplainState *es)
{
	const char *found;

	/* Nothing is said where nothing is ever cached. */
	if (cache->relation->description->cache_account.len == 0)
		return false;

	explain_choices(cache, es);
	if (cache->outcome != CACHE_HIT)
	{
		const char *text = psprintf("%s: %s%s%s",
									cache->outcome == CACHE_MISS ? "miss" : "live", cache->why,
									filled[0] != '\0' ? "; " : "", filled);

		/* Some region may hold the rows of the values to come. */
		if (cache->unforeseen)
			text = "depends on values that are known when the scan runs";
		ExplainPropertyText("Hallway Cache", text, es);
		return false;
	}

	found = cache->table.whole ? "replica" :
		cache->region.all_rows ? "all rows" :
		cache->region.shown != NULL ? cache->region.shown : "";
	if (es->format == EXPLAIN_FORMAT_TEXT)
	{
		if (!cache->region.all_rows)
			found = psprintf("rows where %s", found);
		/* The age is a time: not where the output is to be the same each time. */
		if (es->timing || !es->analyze)
			found = psprintf("%s, age %.0f s", found, floor(cache->age / 1000));
		ExplainPropertyText("Hallway Cache",
							psprintf("%s, %s", cache->rescued ? "stale" : "hit", found), es);
	}
	else
	{
		ExplainPropertyText("Hallway Cache", cache->rescued ? "stale" : "hit", es);
		ExplainPropertyText("Hallway Cache Region", found, es);
		if (es->timing || !es->analyze)
			ExplainPropertyFloat("Hallway Cache Age", "ms", cache->age, 0, es);
	}
	return true;
}

/* What is said is true of the last choice; how often it was which, if not always. */
static void
explain_choices(HallwayCacheScan *cache, ExplainState *es)
{
	const uint64 *n = cache->chosen;

	if ((n[CACHE_HIT] > 0) + (n[CACHE_MISS] > 0) + (n[CACHE_LIVE] > 0) < 2)
		return;
	if (es->format == EXPLAIN_FORMAT_TEXT)
	{
		ExplainPropertyText("Hallway Cache Lookups",
							psprintf("hits=" UINT64_FORMAT " misses=" UINT64_FORMAT
									 " live=" UINT64_FORMAT,
									 n[CACHE_HIT], n[CACHE_MISS], n[CACHE_LIVE]), es);
		return;
	}
	ExplainPropertyUInteger("Hallway Cache Hits", NULL, n[CACHE_HIT], es);
	ExplainPropertyUInteger("Hallway Cache Misses", NULL, n[CACHE_MISS], es);
	ExplainPropertyUInteger("Hallway Cache Live", NULL, n[CACHE_LIVE], es);
}

void
hallway_cache_explain_inner(HallwayCacheScan *cache, ExplainState *es)
{
	hallway_explain_inner("Hallway Cache Plan", cache->desc, es);
}
