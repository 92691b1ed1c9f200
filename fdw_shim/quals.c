/*-------------------------------------------------------------------------
 *
 * quals.c
 *		PostgreSQL's conditions -> neutral ones; shippable.c has what they are
 *		made of: columns, values, types, operators.
 *
 * The question here is what an expression *means*, not whether an API can do
 * it: that is the connector's to answer. Whatever has one unmistakable meaning
 * in expr.proto is shipped, everything else stays local.
 *
 * The two halves of an expression are treated differently. The side that holds
 * columns is taken apart, node by node, and only built-in operators and
 * functions of types whose meaning is fixed pass. The side that holds no column
 * is a value, whatever computes it: it becomes a parameter, evaluated here by
 * the executor when the scan starts. So now() - interval '1 day' and a stable
 * function of the user's go down as values, volatile ones never.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "quals.h"

typedef struct MatchFunction
{
	Oid			function;
	Hallway__V1__MatchKind kind;
	bool		negated;
} MatchFunction;

#define MATCH(kind) HALLWAY__V1__MATCH_KIND__MATCH_KIND_##kind

static const MatchFunction match_functions[] = {
	{F_TEXTLIKE, MATCH(LIKE), false},
	{F_TEXTNLIKE, MATCH(LIKE), true},
	{F_TEXTICLIKE, MATCH(ILIKE), false},
	{F_TEXTICNLIKE, MATCH(ILIKE), true},
	{F_STARTS_WITH, MATCH(STARTS_WITH), false},
	{F_TEXTREGEXEQ, MATCH(REGEX), false},
	{F_TEXTREGEXNE, MATCH(REGEX), true},
	{F_TEXTICREGEXEQ, MATCH(IREGEX), false},
	{F_TEXTICREGEXNE, MATCH(IREGEX), true},
};

static Hallway__V1__Expr *ship_condition(HallwayQualContext *cxt, Expr *expr, QualPlace place);
static Hallway__V1__Expr *ship_bool_expr(HallwayQualContext *cxt, BoolExpr *expr, QualPlace place);
static Hallway__V1__Expr *ship_not(HallwayQualContext *cxt, Expr *arg, QualPlace place);
static Hallway__V1__Expr *ship_comparison(HallwayQualContext *cxt, Expr *left, Expr *right,
										  Hallway__V1__ComparisonOperator operator,
										  Oid collation, QualPlace place);
static Expr *name_as_text(Expr *expr);
static Hallway__V1__Expr *ship_op_expr(HallwayQualContext *cxt, OpExpr *op, QualPlace place);
static Hallway__V1__Expr *ship_distinct(HallwayQualContext *cxt, DistinctExpr *op,
										bool negated, QualPlace place);
static Hallway__V1__Expr *ship_membership(HallwayQualContext *cxt, ScalarArrayOpExpr *op,
										  QualPlace place);
static Hallway__V1__Expr *ship_match(HallwayQualContext *cxt, Oid function, List *args,
									 Oid collation, QualPlace place);
static Hallway__V1__Expr *ship_null_test(HallwayQualContext *cxt, NullTest *test);
static Hallway__V1__Expr *ship_bool_test(HallwayQualContext *cxt, Expr *arg,
										 Hallway__V1__Truth truth, bool negated, QualPlace place);


/*
 * The neutral form of a condition over cxt's relation, in the current memory
 * context, or NULL if it has none; then cxt->params is as it was. A condition
 * without a column of the relation has none either.
 */
Hallway__V1__Expr *
hallway_ship_expr(HallwayQualContext *cxt, Expr *expr)
{
	int			nparams = list_length(cxt->params);
	QualPlace		place = {.where = true, .guarded = false};
	Hallway__V1__Expr *result = NULL;

	if (bms_is_member(cxt->baserel->relid, pull_varnos(cxt->root, (Node *) expr)))
		result = ship_condition(cxt, expr, place);
	if (result == NULL)
	{
		cxt->params = list_truncate(cxt->params, nparams);
		cxt->parameters = list_truncate(cxt->parameters, nparams);
	}
	return result;
}

/* ---- conditions --------------------------------------------------------- */

static Hallway__V1__Expr *
ship_condition(HallwayQualContext *cxt, Expr *expr, QualPlace place)
{
	switch (nodeTag(expr))
	{
		case T_BoolExpr:
			return ship_bool_expr(cxt, (BoolExpr *) expr, place);
		case T_OpExpr:
			return ship_op_expr(cxt, (OpExpr *) expr, place);
		case T_DistinctExpr:
			return ship_distinct(cxt, (DistinctExpr *) expr, false, place);
		case T_ScalarArrayOpExpr:
			return ship_membership(cxt, (ScalarArrayOpExpr *) expr, place);
		case T_NullTest:
			return ship_null_test(cxt, (NullTest *) expr);
		case T_BooleanTest:
			{
				BooleanTest *test = (BooleanTest *) expr;
				BoolTestType type = test->booltesttype;
				Hallway__V1__Truth truth = HALLWAY__V1__TRUTH__TRUTH_UNKNOWN;

				if (type == IS_TRUE || type == IS_NOT_TRUE)
					truth = HALLWAY__V1__TRUTH__TRUTH_TRUE;
				else if (type == IS_FALSE || type == IS_NOT_FALSE)
					truth = HALLWAY__V1__TRUTH__TRUTH_FALSE;
				return ship_bool_test(cxt, test->arg, truth,
									  type == IS_NOT_TRUE || type == IS_NOT_FALSE ||
									  type == IS_NOT_UNKNOWN, place);
			}
		case T_FuncExpr:
			{
				FuncExpr   *func = (FuncExpr *) expr;

				return ship_match(cxt, func->funcid, func->args, func->inputcollid, place);
			}
		case T_Var:
		case T_RelabelType:
			if (getBaseType(exprType((Node *) hallway_strip_relabels(expr))) != BOOLOID)
				return NULL;
			if (place.where)
				return ship_bool_test(cxt, expr, HALLWAY__V1__TRUTH__TRUTH_TRUE, false, place);
			return hallway_ship_column(cxt, expr);
		default:
			return NULL;
	}
}

static Hallway__V1__Expr *
ship_bool_expr(HallwayQualContext *cxt, BoolExpr *expr, QualPlace place)
{
	Hallway__V1__Expr *result;
	Hallway__V1__Expr **operands;
	int			n = 0;
	ListCell   *lc;

	if (expr->boolop == NOT_EXPR)
		return ship_not(cxt, linitial(expr->args), place);

	/*
	 * An arm that follows another may be one that the first was to protect, as
	 * in $1 = 0 OR price > 10 / $1. Parameters are evaluated whatever the arms
	 * before them say, so there they must be harmless.
	 */
	place.guarded = true;

	operands = palloc(sizeof(Hallway__V1__Expr *) * list_length(expr->args));
	foreach(lc, expr->args)
	{
		Expr	   *arm = lfirst(lc);

		/* An arm without a column is a Boolean value. */
		operands[n] = ship_condition(cxt, arm, place);
		if (operands[n] == NULL)
			operands[n] = hallway_ship_parameter(cxt, arm, place);
		if (operands[n] == NULL)
			return NULL;
		n++;
	}

	if (expr->boolop == AND_EXPR)
	{
		result = hallway_make_expr(HALLWAY__V1__EXPR__NODE_AND);
		result->and_ = palloc(sizeof(Hallway__V1__And));
		hallway__v1__and__init(result->and_);
		result->and_->n_operands = n;
		result->and_->operands = operands;
	}
	else
	{
		result = hallway_make_expr(HALLWAY__V1__EXPR__NODE_OR);
		result->or_ = palloc(sizeof(Hallway__V1__Or));
		hallway__v1__or__init(result->or_);
		result->or_->n_operands = n;
		result->or_->operands = operands;
	}
	return result;
}

static Hallway__V1__Expr *
ship_not(HallwayQualContext *cxt, Expr *arg, QualPlace place)
{
	Hallway__V1__Expr *operand;
	Hallway__V1__Expr *result;

	if (IsA(arg, DistinctExpr))
		return ship_distinct(cxt, (DistinctExpr *) arg, true, place);
	if (place.where && hallway_column_index(cxt, arg) >= 0)
		return ship_bool_test(cxt, arg, HALLWAY__V1__TRUTH__TRUTH_FALSE, false, place);

	place.where = false;
	operand = ship_condition(cxt, arg, place);
	if (operand == NULL)
		return NULL;
	result = hallway_make_expr(HALLWAY__V1__EXPR__NODE_NOT);
	result->not_ = palloc(sizeof(Hallway__V1__Not));
	hallway__v1__not__init(result->not_);
	result->not_->operand = operand;
	return result;
}

static Hallway__V1__Expr *
ship_op_expr(HallwayQualContext *cxt, OpExpr *op, QualPlace place)
{
	Expr	   *left;
	Expr	   *right;
	Hallway__V1__ComparisonOperator operator;

	if (!hallway_is_builtin(op->opno) || list_length(op->args) != 2)
		return NULL;
	left = linitial(op->args);
	right = lsecond(op->args);

	switch (hallway_default_strategy(op->opno, exprType((Node *) left)))
	{
		case BTLessStrategyNumber:
			operator = HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_LT;
			break;
		case BTLessEqualStrategyNumber:
			operator = HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_LE;
			break;
		case BTEqualStrategyNumber:
			operator = HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_EQ;
			break;
		case BTGreaterEqualStrategyNumber:
			operator = HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_GE;
			break;
		case BTGreaterStrategyNumber:
			operator = HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_GT;
			break;
		case HALLWAY_STRATEGY_NE:
			operator = HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_NE;
			break;
		default:
			set_opfuncid(op);
			return ship_match(cxt, op->opfuncid, op->args, op->inputcollid, place);
	}
	return ship_comparison(cxt, left, right, operator, op->inputcollid, place);
}

static Hallway__V1__Expr *
ship_distinct(HallwayQualContext *cxt, DistinctExpr *op, bool negated, QualPlace place)
{
	Expr	   *left = linitial(op->args);
	Expr	   *right = lsecond(op->args);

	if (!hallway_is_builtin(op->opno) ||
		hallway_default_strategy(op->opno, exprType((Node *) left)) != BTEqualStrategyNumber)
		return NULL;
	return ship_comparison(cxt, left, right,
						   negated ?
						   HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_NOT_DISTINCT :
						   HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_DISTINCT,
						   op->inputcollid, place);
}

/* A column, if there is one only, comes to stand on the left. */
static Hallway__V1__Expr *
ship_comparison(HallwayQualContext *cxt, Expr *left, Expr *right,
				Hallway__V1__ComparisonOperator operator, Oid collation, QualPlace place)
{
	Hallway__V1__Expr *result;
	Hallway__V1__Comparison *comparison;

	left = name_as_text(left);
	right = name_as_text(right);
	if (!hallway_comparable(exprType((Node *) left), exprType((Node *) right), collation))
		return NULL;

	if (hallway_is_value(cxt, left))
	{
		Expr	   *swapped = left;

		left = right;
		right = swapped;
		switch (operator)
		{
			case HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_LT:
				operator = HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_GT;
				break;
			case HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_LE:
				operator = HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_GE;
				break;
			case HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_GE:
				operator = HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_LE;
				break;
			case HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_GT:
				operator = HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_LT;
				break;
			default:
				break;
		}
	}

	comparison = palloc(sizeof(Hallway__V1__Comparison));
	hallway__v1__comparison__init(comparison);
	comparison->operator_ = operator;
	comparison->left = hallway_ship_column(cxt, left);
	if (comparison->left == NULL)
		return NULL;
	comparison->right = hallway_ship_operand(cxt, right, place);
	if (comparison->right == NULL)
		return NULL;
	if (OidIsValid(collation))
		comparison->collation = hallway_ship_collation(collation);

	result = hallway_make_expr(HALLWAY__V1__EXPR__NODE_COMPARISON);
	result->comparison = comparison;
	return result;
}

/* A name compares as its text does; current_user and its like are names. */
static Expr *
name_as_text(Expr *expr)
{
	if (exprType((Node *) expr) != NAMEOID)
		return expr;
	return (Expr *) makeFuncExpr(F_TEXT_NAME, TEXTOID, list_make1(expr),
								 DEFAULT_COLLATION_OID, C_COLLATION_OID,
								 COERCE_IMPLICIT_CAST);
}

/*
 * = ANY (array) and <> ALL (array): IN and NOT IN, or a value that is looked for in
 * a column's arrays.
 */
static Hallway__V1__Expr *
ship_membership(HallwayQualContext *cxt, ScalarArrayOpExpr *op, QualPlace place)
{
	Expr	   *operand = linitial(op->args);
	Expr	   *array = lsecond(op->args);
	Oid			element = get_element_type(getBaseType(exprType((Node *) array)));
	int			strategy;
	Hallway__V1__Expr *result;
	Hallway__V1__Membership *membership;

	if (!hallway_is_builtin(op->opno) || !OidIsValid(element) ||
		!hallway_comparable(exprType((Node *) operand), element, op->inputcollid))
		return NULL;
	strategy = hallway_default_strategy(op->opno, exprType((Node *) operand));
	if (strategy != (op->useOr ? BTEqualStrategyNumber : HALLWAY_STRATEGY_NE))
		return NULL;

	membership = palloc(sizeof(Hallway__V1__Membership));
	hallway__v1__membership__init(membership);
	membership->negated = !op->useOr;
	if (hallway_column_index(cxt, array) >= 0)
	{
		membership->operand = hallway_ship_parameter(cxt, operand, place);
		membership->array = hallway_ship_column(cxt, array);
	}
	else
	{
		membership->operand = hallway_ship_column(cxt, operand);
		membership->array = membership->operand == NULL ? NULL :
			hallway_ship_parameter(cxt, array, place);
	}
	if (membership->operand == NULL || membership->array == NULL)
		return NULL;
	if (OidIsValid(op->inputcollid))
		membership->collation = hallway_ship_collation(op->inputcollid);

	result = hallway_make_expr(HALLWAY__V1__EXPR__NODE_MEMBERSHIP);
	result->membership = membership;
	return result;
}

/* LIKE, ILIKE, regular expressions, starts_with(): their operators' functions. */
static Hallway__V1__Expr *
ship_match(HallwayQualContext *cxt, Oid function, List *args, Oid collation, QualPlace place)
{
	const MatchFunction *found = NULL;
	Hallway__V1__Expr *result;
	Hallway__V1__Match *match;

	for (size_t i = 0; i < lengthof(match_functions); i++)
	{
		if (match_functions[i].function == function)
			found = &match_functions[i];
	}
	if (found == NULL ||
		!hallway_comparable(exprType(linitial(args)), exprType(lsecond(args)), collation))
		return NULL;

	match = palloc(sizeof(Hallway__V1__Match));
	hallway__v1__match__init(match);
	match->kind = found->kind;
	match->negated = found->negated;
	match->collation = hallway_ship_collation(collation);
	match->operand = hallway_ship_column(cxt, linitial(args));
	if (match->operand == NULL)
		return NULL;
	match->pattern = hallway_ship_parameter(cxt, lsecond(args), place);
	if (match->pattern == NULL)
		return NULL;

	result = hallway_make_expr(HALLWAY__V1__EXPR__NODE_MATCH);
	result->match = match;
	return result;
}

/* Any column will do, whatever its type; but a row's fields are another test. */
static Hallway__V1__Expr *
ship_null_test(HallwayQualContext *cxt, NullTest *test)
{
	Hallway__V1__Expr *result;
	int			column;

	if (test->argisrow || type_is_rowtype(exprType((Node *) test->arg)) ||
		(column = hallway_column_index(cxt, test->arg)) < 0)
		return NULL;

	result = hallway_make_expr(HALLWAY__V1__EXPR__NODE_NULL_TEST);
	result->null_test = palloc(sizeof(Hallway__V1__NullTest));
	hallway__v1__null_test__init(result->null_test);
	result->null_test->operand = hallway_ship_column(cxt, test->arg);
	result->null_test->negated = test->nulltesttype == IS_NOT_NULL;
	return result;
}

static Hallway__V1__Expr *
ship_bool_test(HallwayQualContext *cxt, Expr *arg, Hallway__V1__Truth truth,
			   bool negated, QualPlace place)
{
	Hallway__V1__Expr *operand;
	Hallway__V1__Expr *result;

	place.where = false;
	operand = ship_condition(cxt, arg, place);
	if (operand == NULL)
		return NULL;
	result = hallway_make_expr(HALLWAY__V1__EXPR__NODE_BOOL_TEST);
	result->bool_test = palloc(sizeof(Hallway__V1__BoolTest));
	hallway__v1__bool_test__init(result->bool_test);
	result->bool_test->operand = operand;
	result->bool_test->truth = truth;
	result->bool_test->negated = negated;
	return result;
}
