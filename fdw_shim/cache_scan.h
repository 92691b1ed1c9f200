/*-------------------------------------------------------------------------
 *
 * cache_scan.h
 *		A scan of a cached table: for cache_scan.c, which chooses where it reads,
 *		cache_snapshot.c, cache_inner.c and cache_explain.c alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HALLWAY_CACHE_SCAN_H
#define HALLWAY_CACHE_SCAN_H

#include "cache.h"

struct HallwayCacheScan
{
	ForeignScanState *node;
	const HallwayScanPlan *plan;
	HallwayCachePlan cache;
	Oid			userid;
	bool		feeds_write;
	uint32		variable;		/* conjuncts whose values a rescan may change */
	bool		variable_limit;
	bool		unsettled;		/* own writes were not in the cache in time */
	bool		read_api;		/* since the first snapshot was taken */
	uint64		chosen[CACHE_HIT + 1];	/* how often */

	/* Of the last choice. */
	HallwayCacheOutcome outcome;
	const char *why;			/* not a hit: the reason */
	bool		unforeseen;		/* a miss, but values were lacking */
	bool		rescuable;		/* if the API fails, old rows may do */
	bool		rescued;		/* and did */
	bool		explained;		/* regions are described, for EXPLAIN */
	HallwayRelation *relation;
	HallwayConjuncts conjuncts;
	Bitmapset  *needed;			/* column indexes */
	HallwayCacheTable table;
	HallwayRegion region;
	double		age;			/* of a hit, in milliseconds */
	MemoryContext choice;		/* holds what was made for it */

	/* Registered until the end. */
	Snapshot	shared;			/* the statement's */
	Snapshot	own;			/* a newer one: the API was read meanwhile */

	/* The inner executor; NULL until the first hit. */
	MemoryContext inner_context;	/* holds it, and a plan that is not kept */
	QueryDesc  *desc;
	Oid			desc_relid;		/* the cache table it reads */
	Snapshot	desc_snapshot;
	const HallwayInnerPlan *inner;
	List	   *param_states;	/* ExprStates, for desc->params */
	MemoryContext param_values;
	uint64		limit;
};

/* ---- cache_snapshot.c ------------------------------------------------------- */

/*
 * The snapshot to read the cache under. A scan that has read the API in between
 * takes a new one, to find what it has filled itself.
 */
extern Snapshot hallway_cache_snapshot(HallwayCacheScan *cache);
/* When the snapshot that this gives was taken; 0: it will be. */
extern TimestampTz hallway_cache_snapshot_time(HallwayCacheScan *cache);

/* ---- cache_inner.c: the executor that reads the cache table ----------------- */

/* Stands before the first row afterwards. False: the table cannot be read so. */
extern bool hallway_inner_open(HallwayCacheScan *cache, Snapshot snapshot, int eflags);
extern void hallway_inner_close(HallwayCacheScan *cache);
/* Values that the scan's expressions have now, kept until the next time. */
extern void hallway_inner_set_params(HallwayCacheScan *cache);
extern void hallway_inner_rescan(HallwayCacheScan *cache);

#endif
