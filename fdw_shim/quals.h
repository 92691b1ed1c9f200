/*-------------------------------------------------------------------------
 *
 * quals.h
 *		What quals.c and shippable.c share: nobody else includes it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HALLWAY_QUALS_H
#define HALLWAY_QUALS_H

#include "postgres.h"

#include "nodes/pathnodes.h"

#include "hallway.h"

/*
 * Where a Boolean expression stands. In a WHERE clause, below ANDs and ORs
 * only, NULL and false are the same, so that a bare column means IS TRUE.
 */
typedef struct QualPlace
{
	bool		where;			/* NULL counts as false */
	bool		guarded;		/* PostgreSQL might never evaluate this part */
} QualPlace;

/*
 * Neutral forms, or NULL: of a column (or a function of one), of a value, of
 * either, and of a collation.
 */
extern Hallway__V1__Expr *hallway_ship_column(HallwayQualContext *cxt, Expr *expr);
extern Hallway__V1__Expr *hallway_ship_parameter(HallwayQualContext *cxt, Expr *expr,
												 QualPlace place);
extern Hallway__V1__Expr *hallway_ship_operand(HallwayQualContext *cxt, Expr *expr,
											   QualPlace place);
extern Hallway__V1__Collation *hallway_ship_collation(Oid collation);
extern Hallway__V1__Expr *hallway_make_expr(Hallway__V1__Expr__NodeCase node);

extern Expr *hallway_strip_relabels(Expr *expr);
extern bool hallway_is_value(HallwayQualContext *cxt, Expr *expr);
extern bool hallway_is_builtin(Oid object);
extern bool hallway_comparable(Oid left, Oid right, Oid collation);
extern int	hallway_default_strategy(Oid opno, Oid type);

#endif							/* HALLWAY_QUALS_H */
