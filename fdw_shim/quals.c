/*-------------------------------------------------------------------------
 *
 * quals.c
 *		PostgreSQL's expressions -> neutral ones.
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

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/transam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "hallway.h"

/*
 * Where a Boolean expression stands. In a WHERE clause, below ANDs and ORs
 * only, NULL and false are the same, so that a bare column means IS TRUE.
 */
typedef struct Place
{
	bool		where;			/* NULL counts as false */
	bool		guarded;		/* PostgreSQL might never evaluate this part */
} Place;

/* Types within a class compare with each other by one meaning. */
typedef enum ComparisonClass
{
	CLASS_NONE,					/* never shipped in comparisons */
	CLASS_BOOL,
	CLASS_INTEGER,
	CLASS_FLOAT,
	CLASS_NUMERIC,
	CLASS_TEXT,
	CLASS_DATE,
	CLASS_TIME,
	CLASS_TIMESTAMP,
	CLASS_TIMESTAMPTZ,
	CLASS_UUID,
	CLASS_BYTEA,
	CLASS_ENUM
} ComparisonClass;

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

static Hallway__V1__Expr *ship_condition(HallwayQualContext *cxt, Expr *expr, Place place);
static Hallway__V1__Expr *ship_bool_expr(HallwayQualContext *cxt, BoolExpr *expr, Place place);
static Hallway__V1__Expr *ship_not(HallwayQualContext *cxt, Expr *arg, Place place);
static Hallway__V1__Expr *ship_comparison(HallwayQualContext *cxt, Expr *left, Expr *right,
										  Hallway__V1__ComparisonOperator operator,
										  Oid collation, Place place);
static Expr *name_as_text(Expr *expr);
static Hallway__V1__Expr *ship_op_expr(HallwayQualContext *cxt, OpExpr *op, Place place);
static Hallway__V1__Expr *ship_distinct(HallwayQualContext *cxt, DistinctExpr *op,
										bool negated, Place place);
static Hallway__V1__Expr *ship_membership(HallwayQualContext *cxt, ScalarArrayOpExpr *op,
										  Place place);
static Hallway__V1__Expr *ship_match(HallwayQualContext *cxt, Oid function, List *args,
									 Oid collation, Place place);
static Hallway__V1__Expr *ship_null_test(HallwayQualContext *cxt, NullTest *test);
static Hallway__V1__Expr *ship_bool_test(HallwayQualContext *cxt, Expr *arg,
										 Hallway__V1__Truth truth, bool negated, Place place);
static Hallway__V1__Expr *ship_operand(HallwayQualContext *cxt, Expr *expr, Place place);
static Hallway__V1__Expr *ship_column(HallwayQualContext *cxt, Expr *expr);
static Hallway__V1__Expr *ship_parameter(HallwayQualContext *cxt, Expr *expr, Place place);
static Hallway__V1__Collation *ship_collation(Oid collation);
static bool orders_by_byte(Oid collation);
static bool locale_is_c(char provider, Datum locale, bool isnull);
static Expr *strip_relabels(Expr *expr);
static bool is_value(HallwayQualContext *cxt, Expr *expr);
static bool may_fail_walker(Node *node, void *context);
static ComparisonClass comparison_class(Oid type);
static bool comparable(Oid left, Oid right, Oid collation);
static int	default_strategy(Oid opno, Oid type);
static bool is_builtin(Oid object);
static Hallway__V1__Expr *make_expr(Hallway__V1__Expr__NodeCase node);


/*
 * The neutral form of a condition over cxt's relation, in the current memory
 * context, or NULL if it has none; then cxt->params is as it was. A condition
 * without a column of the relation has none either.
 */
Hallway__V1__Expr *
hallway_ship_expr(HallwayQualContext *cxt, Expr *expr)
{
	int			nparams = list_length(cxt->params);
	Place		place = {.where = true, .guarded = false};
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

/*
 * The neutral form of one sort key, or NULL: only plain columns, in the default
 * order of their type.
 */
Hallway__V1__SortKey *
hallway_ship_sortkey(HallwayQualContext *cxt, PathKey *pathkey)
{
	EquivalenceClass *ec = pathkey->pk_eclass;
	Expr	   *expr;
	Oid			type;
	int			column;
	Hallway__V1__SortKey *key;

	if (ec->ec_has_volatile)
		return NULL;
	expr = hallway_ec_member_of_rel(ec, cxt->baserel);
	if (expr == NULL || (column = hallway_column_index(cxt, expr)) < 0)
		return NULL;

	type = getBaseType(exprType((Node *) expr));
	if (comparison_class(type) == CLASS_NONE ||
		lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf != pathkey->pk_opfamily)
		return NULL;

	key = palloc(sizeof(Hallway__V1__SortKey));
	hallway__v1__sort_key__init(key);
	key->column = column;
	key->descending = hallway_pathkey_descending(pathkey);
	key->nulls_first = pathkey->pk_nulls_first;
	if (comparison_class(type) == CLASS_TEXT)
	{
		key->collation = ship_collation(ec->ec_collation);
		if (key->collation == NULL)
			return NULL;
	}
	return key;
}

/* ---- conditions --------------------------------------------------------- */

static Hallway__V1__Expr *
ship_condition(HallwayQualContext *cxt, Expr *expr, Place place)
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
			if (exprType((Node *) strip_relabels(expr)) != BOOLOID)
				return NULL;
			if (place.where)
				return ship_bool_test(cxt, expr, HALLWAY__V1__TRUTH__TRUTH_TRUE, false, place);
			return ship_column(cxt, expr);
		default:
			return NULL;
	}
}

static Hallway__V1__Expr *
ship_bool_expr(HallwayQualContext *cxt, BoolExpr *expr, Place place)
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
			operands[n] = ship_parameter(cxt, arm, place);
		if (operands[n] == NULL)
			return NULL;
		n++;
	}

	if (expr->boolop == AND_EXPR)
	{
		result = make_expr(HALLWAY__V1__EXPR__NODE_AND);
		result->and_ = palloc(sizeof(Hallway__V1__And));
		hallway__v1__and__init(result->and_);
		result->and_->n_operands = n;
		result->and_->operands = operands;
	}
	else
	{
		result = make_expr(HALLWAY__V1__EXPR__NODE_OR);
		result->or_ = palloc(sizeof(Hallway__V1__Or));
		hallway__v1__or__init(result->or_);
		result->or_->n_operands = n;
		result->or_->operands = operands;
	}
	return result;
}

static Hallway__V1__Expr *
ship_not(HallwayQualContext *cxt, Expr *arg, Place place)
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
	result = make_expr(HALLWAY__V1__EXPR__NODE_NOT);
	result->not_ = palloc(sizeof(Hallway__V1__Not));
	hallway__v1__not__init(result->not_);
	result->not_->operand = operand;
	return result;
}

static Hallway__V1__Expr *
ship_op_expr(HallwayQualContext *cxt, OpExpr *op, Place place)
{
	Expr	   *left;
	Expr	   *right;
	Hallway__V1__ComparisonOperator operator;

	if (!is_builtin(op->opno) || list_length(op->args) != 2)
		return NULL;
	left = linitial(op->args);
	right = lsecond(op->args);

	switch (default_strategy(op->opno, exprType((Node *) left)))
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
ship_distinct(HallwayQualContext *cxt, DistinctExpr *op, bool negated, Place place)
{
	Expr	   *left = linitial(op->args);
	Expr	   *right = lsecond(op->args);

	if (!is_builtin(op->opno) ||
		default_strategy(op->opno, exprType((Node *) left)) != BTEqualStrategyNumber)
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
				Hallway__V1__ComparisonOperator operator, Oid collation, Place place)
{
	Hallway__V1__Expr *result;
	Hallway__V1__Comparison *comparison;

	left = name_as_text(left);
	right = name_as_text(right);
	if (!comparable(exprType((Node *) left), exprType((Node *) right), collation))
		return NULL;

	if (is_value(cxt, left))
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
	comparison->left = ship_column(cxt, left);
	if (comparison->left == NULL)
		return NULL;
	comparison->right = ship_operand(cxt, right, place);
	if (comparison->right == NULL)
		return NULL;
	if (OidIsValid(collation))
		comparison->collation = ship_collation(collation);

	result = make_expr(HALLWAY__V1__EXPR__NODE_COMPARISON);
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

/* = ANY (array) and <> ALL (array): IN and NOT IN. */
static Hallway__V1__Expr *
ship_membership(HallwayQualContext *cxt, ScalarArrayOpExpr *op, Place place)
{
	Expr	   *operand = linitial(op->args);
	Expr	   *array = lsecond(op->args);
	Oid			element = get_element_type(getBaseType(exprType((Node *) array)));
	int			strategy;
	Hallway__V1__Expr *result;
	Hallway__V1__Membership *membership;

	if (!is_builtin(op->opno) || !OidIsValid(element) ||
		!comparable(exprType((Node *) operand), element, op->inputcollid))
		return NULL;
	strategy = default_strategy(op->opno, exprType((Node *) operand));
	if (strategy != (op->useOr ? BTEqualStrategyNumber : HALLWAY_STRATEGY_NE))
		return NULL;

	membership = palloc(sizeof(Hallway__V1__Membership));
	hallway__v1__membership__init(membership);
	membership->negated = !op->useOr;
	membership->operand = ship_column(cxt, operand);
	if (membership->operand == NULL)
		return NULL;
	membership->array = ship_parameter(cxt, array, place);
	if (membership->array == NULL)
		return NULL;
	if (OidIsValid(op->inputcollid))
		membership->collation = ship_collation(op->inputcollid);

	result = make_expr(HALLWAY__V1__EXPR__NODE_MEMBERSHIP);
	result->membership = membership;
	return result;
}

/* LIKE, ILIKE, regular expressions, starts_with(): their operators' functions. */
static Hallway__V1__Expr *
ship_match(HallwayQualContext *cxt, Oid function, List *args, Oid collation, Place place)
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
		!comparable(exprType(linitial(args)), exprType(lsecond(args)), collation))
		return NULL;

	match = palloc(sizeof(Hallway__V1__Match));
	hallway__v1__match__init(match);
	match->kind = found->kind;
	match->negated = found->negated;
	match->collation = ship_collation(collation);
	match->operand = ship_column(cxt, linitial(args));
	if (match->operand == NULL)
		return NULL;
	match->pattern = ship_parameter(cxt, lsecond(args), place);
	if (match->pattern == NULL)
		return NULL;

	result = make_expr(HALLWAY__V1__EXPR__NODE_MATCH);
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

	result = make_expr(HALLWAY__V1__EXPR__NODE_NULL_TEST);
	result->null_test = palloc(sizeof(Hallway__V1__NullTest));
	hallway__v1__null_test__init(result->null_test);
	result->null_test->operand = ship_column(cxt, test->arg);
	result->null_test->negated = test->nulltesttype == IS_NOT_NULL;
	return result;
}

static Hallway__V1__Expr *
ship_bool_test(HallwayQualContext *cxt, Expr *arg, Hallway__V1__Truth truth,
			   bool negated, Place place)
{
	Hallway__V1__Expr *operand;
	Hallway__V1__Expr *result;

	place.where = false;
	operand = ship_condition(cxt, arg, place);
	if (operand == NULL)
		return NULL;
	result = make_expr(HALLWAY__V1__EXPR__NODE_BOOL_TEST);
	result->bool_test = palloc(sizeof(Hallway__V1__BoolTest));
	hallway__v1__bool_test__init(result->bool_test);
	result->bool_test->operand = operand;
	result->bool_test->truth = truth;
	result->bool_test->negated = negated;
	return result;
}

/* ---- operands ----------------------------------------------------------- */

static Hallway__V1__Expr *
ship_operand(HallwayQualContext *cxt, Expr *expr, Place place)
{
	Hallway__V1__Expr *result = ship_parameter(cxt, expr, place);

	return result != NULL ? result : ship_column(cxt, expr);
}

/* A column, or lower() or upper() of one. */
static Hallway__V1__Expr *
ship_column(HallwayQualContext *cxt, Expr *expr)
{
	Hallway__V1__Expr *result;
	int			column;

	expr = strip_relabels(expr);
	if (IsA(expr, FuncExpr))
	{
		FuncExpr   *func = (FuncExpr *) expr;
		Hallway__V1__Function *function;

		if (func->funcid != F_LOWER_TEXT && func->funcid != F_UPPER_TEXT)
			return NULL;
		function = palloc(sizeof(Hallway__V1__Function));
		hallway__v1__function__init(function);
		function->name = func->funcid == F_LOWER_TEXT ? "lower" : "upper";
		function->collation = ship_collation(func->inputcollid);
		function->n_arguments = 1;
		function->arguments = palloc(sizeof(Hallway__V1__Expr *));
		function->arguments[0] = ship_column(cxt, linitial(func->args));
		if (function->arguments[0] == NULL || function->collation == NULL)
			return NULL;
		function->type = palloc(sizeof(Hallway__V1__Type));
		hallway_describe_type(TEXTOID, -1, function->type);
		result = make_expr(HALLWAY__V1__EXPR__NODE_FUNCTION);
		result->function = function;
		return result;
	}

	column = hallway_column_index(cxt, expr);
	if (column < 0)
		return NULL;
	result = make_expr(HALLWAY__V1__EXPR__NODE_COLUMN);
	result->column = palloc(sizeof(Hallway__V1__ColumnRef));
	hallway__v1__column_ref__init(result->column);
	result->column->column = column;
	return result;
}

/*
 * A value that the row does not change. Equal expressions are not shared: the
 * shape of a query must not depend on whether two of its constants are equal.
 */
static Hallway__V1__Expr *
ship_parameter(HallwayQualContext *cxt, Expr *expr, Place place)
{
	Hallway__V1__Expr *result;
	Hallway__V1__Parameter *parameter;
	Oid			type = exprType((Node *) expr);

	if (!is_value(cxt, expr) ||
		type_is_rowtype(type) || get_typtype(type) == TYPTYPE_PSEUDO ||
		(place.guarded && may_fail_walker((Node *) expr, NULL)))
		return NULL;

	parameter = palloc(sizeof(Hallway__V1__Parameter));
	hallway__v1__parameter__init(parameter);
	parameter->index = list_length(cxt->params);
	parameter->type = palloc(sizeof(Hallway__V1__Type));
	hallway_describe_type(type, exprTypmod((Node *) expr), parameter->type);
	if (IsA(expr, Const))
	{
		Const	   *constant = (Const *) expr;

		parameter->known = true;
		parameter->value = palloc(sizeof(Hallway__V1__Value));
		hallway_encode_value(type, constant->constvalue, constant->constisnull,
							 parameter->value);
	}
	cxt->params = lappend(cxt->params, expr);
	cxt->parameters = lappend(cxt->parameters, parameter);

	result = make_expr(HALLWAY__V1__EXPR__NODE_PARAMETER);
	result->parameter = parameter;
	return result;
}

static Hallway__V1__Collation *
ship_collation(Oid collation)
{
	Hallway__V1__Collation *result;

	if (!OidIsValid(collation))
		return NULL;
	result = palloc(sizeof(Hallway__V1__Collation));
	hallway__v1__collation__init(result);
	result->c = orders_by_byte(collation);
	result->deterministic = get_collation_isdeterministic(collation);
	result->name = get_collation_name(collation);
	return result;
}

/* The column's index if expr is nothing but a column of the relation, or -1. */
int
hallway_column_index(HallwayQualContext *cxt, Expr *expr)
{
	Var		   *var = (Var *) strip_relabels(expr);

	if (!IsA(var, Var) || var->varlevelsup != 0 ||
		var->varno != (int) cxt->baserel->relid || var->varattno <= 0)
		return -1;
	/* No API has the columns that PostgreSQL computes. */
	if (get_attgenerated(cxt->relation->relid, var->varattno) != '\0')
		return -1;
	/* Generated columns are computed here; the API has none. */
	if (get_attgenerated(cxt->relation->relid, var->varattno) != '\0')
		return -1;
	return cxt->relation->columns[var->varattno - 1];
}

/*
 * True for C, POSIX and collations that are as they are. PostgreSQL knows, too,
 * but its header for that needs ICU's, which few machines have.
 */
static bool
orders_by_byte(Oid collation)
{
	HeapTuple	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	char		provider;
	Datum		locale;
	bool		isnull;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	provider = ((Form_pg_collation) GETSTRUCT(tuple))->collprovider;
	locale = SysCacheGetAttr(COLLOID, tuple, Anum_pg_collation_collcollate, &isnull);
	result = locale_is_c(provider, locale, isnull);
	ReleaseSysCache(tuple);
	if (provider != COLLPROVIDER_DEFAULT)
		return result;

	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for database %u", MyDatabaseId);
	provider = ((Form_pg_database) GETSTRUCT(tuple))->datlocprovider;
	locale = SysCacheGetAttr(DATABASEOID, tuple, Anum_pg_database_datcollate, &isnull);
	result = locale_is_c(provider, locale, isnull);
	ReleaseSysCache(tuple);
	return result;
}

static bool
locale_is_c(char provider, Datum locale, bool isnull)
{
	char	   *name;

	/* All of PostgreSQL's own (17 and later) order by code point. */
	if (provider == 'b')
		return true;
	if (provider != COLLPROVIDER_LIBC || isnull)
		return false;
	name = TextDatumGetCString(locale);
	return strcmp(name, "C") == 0 || strcmp(name, "POSIX") == 0;
}

/*
 * Takes off relabellings that change no comparison: between text and varchar,
 * and from a domain to its type. Others, as from oid to int4, order otherwise.
 */
static Expr *
strip_relabels(Expr *expr)
{
	while (IsA(expr, RelabelType))
	{
		RelabelType *relabel = (RelabelType *) expr;
		Oid			from = getBaseType(exprType((Node *) relabel->arg));
		Oid			to = getBaseType(relabel->resulttype);

		if (from != to &&
			!(comparison_class(from) == CLASS_TEXT && comparison_class(to) == CLASS_TEXT))
			break;
		expr = relabel->arg;
	}
	return expr;
}

/* True if the relation's row does not change what the expression yields. */
static bool
is_value(HallwayQualContext *cxt, Expr *expr)
{
	if (IsA(expr, Const) || IsA(expr, Param))
		return true;
	return !bms_is_member(cxt->baserel->relid, pull_varnos(cxt->root, (Node *) expr)) &&
		!contain_volatile_functions((Node *) expr) &&
		!contain_subplans((Node *) expr) &&
		!expression_returns_set((Node *) expr);
}

/*
 * True unless evaluating the expression is sure not to fail: constants and
 * parameters are, and dates and times that are reckoned from the present.
 */
static bool
may_fail_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Const:
		case T_Param:
		case T_Var:
		case T_PlaceHolderVar:
		case T_SQLValueFunction:
			return false;
		case T_RelabelType:
		case T_ArrayExpr:
		case T_List:
			break;
		case T_FuncExpr:
			if (!is_builtin(((FuncExpr *) node)->funcid) ||
				(((FuncExpr *) node)->args != NIL &&
				 ((FuncExpr *) node)->funcid != F_TEXT_NAME))
				return true;
			break;
		case T_OpExpr:
			{
				Oid			type = exprType(node);

				if (!is_builtin(((OpExpr *) node)->opno) ||
					(type != TIMESTAMPTZOID && type != TIMESTAMPOID && type != DATEOID))
					return true;
				break;
			}
		default:
			return true;
	}
	return expression_tree_walker(node, may_fail_walker, context);
}

/* ---- types and operators ------------------------------------------------ */

static ComparisonClass
comparison_class(Oid type)
{
	switch (hallway_type_kind(type))
	{
		case HALLWAY__V1__KIND__KIND_BOOL:
			return CLASS_BOOL;
		case HALLWAY__V1__KIND__KIND_INT2:
		case HALLWAY__V1__KIND__KIND_INT4:
		case HALLWAY__V1__KIND__KIND_INT8:
			return CLASS_INTEGER;
		case HALLWAY__V1__KIND__KIND_FLOAT4:
		case HALLWAY__V1__KIND__KIND_FLOAT8:
			return CLASS_FLOAT;
		case HALLWAY__V1__KIND__KIND_NUMERIC:
			return CLASS_NUMERIC;
		case HALLWAY__V1__KIND__KIND_TEXT:
		case HALLWAY__V1__KIND__KIND_VARCHAR:
			return CLASS_TEXT;
		case HALLWAY__V1__KIND__KIND_DATE:
			return CLASS_DATE;
		case HALLWAY__V1__KIND__KIND_TIME:
			return CLASS_TIME;
		case HALLWAY__V1__KIND__KIND_TIMESTAMP:
			return CLASS_TIMESTAMP;
		case HALLWAY__V1__KIND__KIND_TIMESTAMPTZ:
			return CLASS_TIMESTAMPTZ;
		case HALLWAY__V1__KIND__KIND_UUID:
			return CLASS_UUID;
		case HALLWAY__V1__KIND__KIND_BYTEA:
			return CLASS_BYTEA;
		case HALLWAY__V1__KIND__KIND_ENUM:
			return CLASS_ENUM;
		default:

			/*
			 * char(n) ignores trailing blanks, json has no order, jsonb's is
			 * nobody else's, and of other types nothing is known.
			 */
			return CLASS_NONE;
	}
}

/* True if values of these types compare by one meaning that expr.proto knows. */
static bool
comparable(Oid left, Oid right, Oid collation)
{
	ComparisonClass class;

	left = getBaseType(left);
	right = getBaseType(right);
	class = comparison_class(left);

	if (class == CLASS_NONE || class != comparison_class(right) ||
		OidIsValid(get_element_type(left)) || OidIsValid(get_element_type(right)))
		return false;
	if (class == CLASS_ENUM)
		return left == right;
	/* Equality that is not of bytes is not described in the contract. */
	if (class == CLASS_TEXT)
		return OidIsValid(collation) && get_collation_isdeterministic(collation);
	return true;
}

/*
 * The operator's strategy in the default btree operator family of the type, or
 * 0. The same sign in another family (text_pattern_ops) means something else.
 */
static int
default_strategy(Oid opno, Oid type)
{
	Oid			opfamily;

	opfamily = lookup_type_cache(getBaseType(type), TYPECACHE_BTREE_OPFAMILY)->btree_opf;
	return OidIsValid(opfamily) ? hallway_btree_strategy(opno, opfamily) : 0;
}

static bool
is_builtin(Oid object)
{
	return object < FirstUnpinnedObjectId;
}

static Hallway__V1__Expr *
make_expr(Hallway__V1__Expr__NodeCase node)
{
	Hallway__V1__Expr *result = palloc(sizeof(Hallway__V1__Expr));

	hallway__v1__expr__init(result);
	result->node_case = node;
	return result;
}
