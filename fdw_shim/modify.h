/*-------------------------------------------------------------------------
 *
 * modify.h
 *		What planning and execution of writes share, and nobody else needs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HALLWAY_MODIFY_H
#define HALLWAY_MODIFY_H

#include "hallway.h"

/* Attribute numbers of the key, in the object's order; NIL: it has none. */
extern List *hallway_key_attnums(const HallwayRelation *relation);
/* Those that the API sets itself. */
extern Bitmapset *hallway_read_only_attnums(const HallwayRelation *relation);
/* All that an API can know: without those that PostgreSQL computes. */
extern List *hallway_sent_columns(Relation rel);
/* Under which name the plan's rows carry a key column. */
extern char *hallway_key_junk_name(Relation rel, AttrNumber attnum);
pg_noreturn extern void hallway_refuse_read_only(Relation rel, AttrNumber attnum);

#endif							/* HALLWAY_MODIFY_H */
