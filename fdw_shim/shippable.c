/*-------------------------------------------------------------------------
 *
 * shippable.c
 *		What conditions are made of, for quals.c: columns and values, and the
 *		types and operators whose meaning the contract knows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "quals.h"

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

static char *collation_name(Oid collation);
static bool orders_by_byte(Oid collation);
static bool locale_is_c(char provider, Datum locale, bool isnull);
static bool may_fail_walker(Node *node, void *context);
static ComparisonClass comparison_class(Oid type);


/*
 * The neutral form of one sort key, or NULL: only plain columns, in the default
 * order of their type.
 */
Hallway__V1__SortKey *
hallway_ship_sortkey(HallwayQualContext *cxt, PathKey *pathkey)
{
	EquivalenceClass *ec = pathkey->pk_eclass;
	EquivalenceMember *member;
	Expr	   *expr;
	Oid			type;
	int			column;
	Hallway__V1__SortKey *key;

	if (ec->ec_has_volatile)
		return NULL;
	member = hallway_ec_member_of_rel(ec, cxt->baserel);
	if (member == NULL)
		return NULL;
	expr = member->em_expr;
	if ((column = hallway_column_index(cxt, expr)) < 0)
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
		key->collation = hallway_ship_collation(ec->ec_collation);
		if (key->collation == NULL)
			return NULL;
	}
	return key;
}

/* ---- operands ----------------------------------------------------------- */

Hallway__V1__Expr *
hallway_ship_operand(HallwayQualContext *cxt, Expr *expr, QualPlace place)
{
	Hallway__V1__Expr *result = hallway_ship_parameter(cxt, expr, place);

	return result != NULL ? result : hallway_ship_column(cxt, expr);
}

/* A column, or lower() or upper() of one. */
Hallway__V1__Expr *
hallway_ship_column(HallwayQualContext *cxt, Expr *expr)
{
	Hallway__V1__Expr *result;
	int			column;

	expr = hallway_strip_relabels(expr);
	if (IsA(expr, FuncExpr))
	{
		FuncExpr   *func = (FuncExpr *) expr;
		Hallway__V1__Function *function;

		if (func->funcid != F_LOWER_TEXT && func->funcid != F_UPPER_TEXT)
			return NULL;
		function = palloc(sizeof(Hallway__V1__Function));
		hallway__v1__function__init(function);
		function->name = func->funcid == F_LOWER_TEXT ? "lower" : "upper";
		function->collation = hallway_ship_collation(func->inputcollid);
		function->n_arguments = 1;
		function->arguments = palloc(sizeof(Hallway__V1__Expr *));
		function->arguments[0] = hallway_ship_column(cxt, linitial(func->args));
		if (function->arguments[0] == NULL || function->collation == NULL)
			return NULL;
		function->type = palloc(sizeof(Hallway__V1__Type));
		hallway_describe_type(TEXTOID, -1, function->type);
		result = hallway_make_expr(HALLWAY__V1__EXPR__NODE_FUNCTION);
		result->function = function;
		return result;
	}

	column = hallway_column_index(cxt, expr);
	if (column < 0)
		return NULL;
	result = hallway_make_expr(HALLWAY__V1__EXPR__NODE_COLUMN);
	result->column = palloc(sizeof(Hallway__V1__ColumnRef));
	hallway__v1__column_ref__init(result->column);
	result->column->column = column;
	return result;
}

/*
 * A value that the row does not change. Equal expressions are not shared: the
 * shape of a query must not depend on whether two of its constants are equal.
 */
Hallway__V1__Expr *
hallway_ship_parameter(HallwayQualContext *cxt, Expr *expr, QualPlace place)
{
	Hallway__V1__Expr *result;
	Hallway__V1__Parameter *parameter;
	Oid			type = exprType((Node *) expr);

	if (!hallway_is_value(cxt, expr) ||
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

	result = hallway_make_expr(HALLWAY__V1__EXPR__NODE_PARAMETER);
	result->parameter = parameter;
	return result;
}

Hallway__V1__Collation *
hallway_ship_collation(Oid collation)
{
	Hallway__V1__Collation *result;

	if (!OidIsValid(collation))
		return NULL;
	result = palloc(sizeof(Hallway__V1__Collation));
	hallway__v1__collation__init(result);
	result->c = orders_by_byte(collation);
	result->deterministic = get_collation_isdeterministic(collation);
	result->name = collation_name(collation);
	return result;
}

/* The column's index if expr is nothing but a column of the relation, or -1. */
int
hallway_column_index(HallwayQualContext *cxt, Expr *expr)
{
	Var		   *var = (Var *) hallway_strip_relabels(expr);

	if (!IsA(var, Var) || var->varlevelsup != 0 ||
		var->varno != (int) cxt->baserel->relid || var->varattno <= 0)
		return -1;
	/* No API has the columns that PostgreSQL computes. */
	if (get_attgenerated(cxt->relation->relid, var->varattno) != '\0')
		return -1;
	return cxt->relation->columns[var->varattno - 1];
}

/* With the schema unless that is pg_catalog: anybody may call a collation "C". */
static char *
collation_name(Oid collation)
{
	HeapTuple	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	Form_pg_collation form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	name = form->collnamespace == PG_CATALOG_NAMESPACE ? pstrdup(NameStr(form->collname)) :
		quote_qualified_identifier(get_namespace_name(form->collnamespace),
								   NameStr(form->collname));
	ReleaseSysCache(tuple);
	return hallway_to_utf8(name);
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

	/* The sidecar's bytes are UTF-8; in these encodings they sort alike. */
	if (GetDatabaseEncoding() != PG_UTF8 && GetDatabaseEncoding() != PG_LATIN1 &&
		GetDatabaseEncoding() != PG_SQL_ASCII)
		return false;
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
Expr *
hallway_strip_relabels(Expr *expr)
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
bool
hallway_is_value(HallwayQualContext *cxt, Expr *expr)
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
			if (!hallway_is_builtin(((FuncExpr *) node)->funcid) ||
				(((FuncExpr *) node)->args != NIL &&
				 ((FuncExpr *) node)->funcid != F_TEXT_NAME))
				return true;
			break;
		case T_OpExpr:
			{
				Oid			type = exprType(node);

				if (!hallway_is_builtin(((OpExpr *) node)->opno) ||
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
bool
hallway_comparable(Oid left, Oid right, Oid collation)
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
int
hallway_default_strategy(Oid opno, Oid type)
{
	Oid			opfamily;

	opfamily = lookup_type_cache(getBaseType(type), TYPECACHE_BTREE_OPFAMILY)->btree_opf;
	return OidIsValid(opfamily) ? hallway_btree_strategy(opno, opfamily) : 0;
}

bool
hallway_is_builtin(Oid object)
{
	return object < FirstUnpinnedObjectId;
}

Hallway__V1__Expr *
hallway_make_expr(Hallway__V1__Expr__NodeCase node)
{
	Hallway__V1__Expr *result = palloc(sizeof(Hallway__V1__Expr));

	hallway__v1__expr__init(result);
	result->node_case = node;
	return result;
}
