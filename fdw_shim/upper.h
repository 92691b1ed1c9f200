/*-------------------------------------------------------------------------
 *
 * upper.h
 *		What upper.c, which plans groups, says to upper_scan.c, which gets them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HALLWAY_UPPER_H
#define HALLWAY_UPPER_H

/* Positions in ForeignScan.fdw_private. */
enum UpperPrivate
{
	UPPER_RELID,				/* Const of type oid */
	UPPER_PLAN,					/* Const of type bytea */
	UPPER_SOURCES,				/* IntList: two wire columns for each of the scan's */
	UPPER_TYPES,				/* OidList: of the wire columns */
	UPPER_TYPMODS,				/* IntList */
	UPPER_NKEYS,				/* Integer */
	UPPER_SHOWN					/* String: for EXPLAIN */
};

/* In place of a second wire column: there is none. */
#define NO_SOURCE (-1)

#endif							/* HALLWAY_UPPER_H */
