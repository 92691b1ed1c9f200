/*-------------------------------------------------------------------------
 *
 * import.c
 *		IMPORT FOREIGN SCHEMA: the API's objects as foreign tables.
 *
 * PostgreSQL takes nothing but CREATE FOREIGN TABLE commands from a wrapper. The
 * API's descriptions become comments, and with create_views each table gets a
 * view for tools that overlook foreign tables: both follow each command, in a
 * ProcessUtility hook that does nothing outside of an import of ours.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "tcop/dest.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "hallway.h"

/* What is to follow the creation of one table. */
typedef struct Follow
{
	char	   *table;
	List	   *commands;		/* char *, SQL */
} Follow;

/* An import that runs; gone with its memory context, however that ends. */
typedef struct Import
{
	List	   *follows;
	MemoryContextCallback at_reset;
} Import;

/* Options of IMPORT FOREIGN SCHEMA that are ours; others are the connector's. */
typedef struct ImportOptions
{
	bool		create_views;
	const char *view_suffix;
	List	   *others;			/* DefElems */
} ImportOptions;

static Import *running = NULL;
static ProcessUtility_hook_type next_process_utility = NULL;

static ImportOptions read_options(ImportForeignSchemaStmt *stmt);
static Hallway__V1__ImportSchemaResponse *ask(ImportForeignSchemaStmt *stmt, Oid serverid,
											  const ImportOptions *options);
static char *create_table_command(const Hallway__V1__ImportedTable *table,
								  const char *server);
static void warn_of_missing(ImportForeignSchemaStmt *stmt,
							const Hallway__V1__ImportSchemaResponse *answer);
static void append_options(StringInfo buf, size_t n, Hallway__V1__Option **options);
static char *checked_type(const Hallway__V1__ImportedTable *table,
						  const Hallway__V1__ImportedColumn *column);
static void type_error_context(void *arg);
static Follow *follow_commands(const Hallway__V1__ImportedTable *table, const char *schema,
							   const ImportOptions *options);
static void start_import(List *follows);
static void end_import(void *arg);
static void process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
							ProcessUtilityContext context, ParamListInfo params,
							QueryEnvironment *queryEnv, DestReceiver *dest,
							QueryCompletion *qc);
static void run_command(const char *sql);
static char *from_utf8(const char *text);
static char *identifier(const char *utf8);
static char *literal(const char *utf8);


void
hallway_import_init(void)
{
	next_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}

List *
hallwayImportForeignSchema(ImportForeignSchemaStmt *stmt, Oid serverOid)
{
	ImportOptions options = read_options(stmt);
	Hallway__V1__ImportSchemaResponse *answer = ask(stmt, serverOid, &options);
	List	   *commands = NIL;
	List	   *follows = NIL;

	for (size_t i = 0; i < answer->n_tables; i++)
	{
		const Hallway__V1__ImportedTable *table = answer->tables[i];

		/* PostgreSQL looks at LIMIT TO and EXCEPT, too, but late. */
		if (!IsImportableForeignTable(from_utf8(table->name), stmt))
			continue;
		commands = lappend(commands, create_table_command(table, stmt->server_name));
		follows = lappend(follows, follow_commands(table, stmt->local_schema, &options));
	}
	warn_of_missing(stmt, answer);
	start_import(follows);
	return commands;
}

static ImportOptions
read_options(ImportForeignSchemaStmt *stmt)
{
	ImportOptions options = {.view_suffix = "_view"};
	ListCell   *lc;

	foreach(lc, stmt->options)
	{
		DefElem    *def = lfirst(lc);

		if (strcmp(def->defname, "create_views") == 0)
			options.create_views = defGetBoolean(def);
		else if (strcmp(def->defname, "view_suffix") == 0)
		{
			options.view_suffix = defGetString(def);
			if (options.view_suffix[0] == '\0')
				ereport(ERROR,
						(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
						 errmsg("option \"view_suffix\" must not be empty"),
						 errdetail("A view cannot have its table's name.")));
		}
		else
			options.others = lappend(options.others, def);
	}
	return options;
}

static Hallway__V1__ImportSchemaResponse *
ask(ImportForeignSchemaStmt *stmt, Oid serverid, const ImportOptions *options)
{
	HallwayRelation *relation = hallway_relation_server(serverid, GetUserId());
	Hallway__V1__ImportSchemaRequest request = HALLWAY__V1__IMPORT_SCHEMA_REQUEST__INIT;
	Hallway__V1__ImportSchemaResponse *answer;
	Hallway__V1__Error *error = NULL;
	ListCell   *lc;

	request.remote_schema = hallway_to_utf8(stmt->remote_schema);
	request.limit_to = stmt->list_type == FDW_IMPORT_SCHEMA_LIMIT_TO;
	request.except = stmt->list_type == FDW_IMPORT_SCHEMA_EXCEPT;
	request.tables = palloc(sizeof(char *) * list_length(stmt->table_list));
	foreach(lc, stmt->table_list)
		request.tables[request.n_tables++] =
			hallway_to_utf8(lfirst_node(RangeVar, lc)->relname);
	request.options = palloc(sizeof(Hallway__V1__Option *) * list_length(options->others));
	foreach(lc, options->others)
	{
		DefElem    *def = lfirst(lc);
		Hallway__V1__Option *option = palloc(sizeof(Hallway__V1__Option));

		hallway__v1__option__init(option);
		option->name = hallway_to_utf8(def->defname);
		option->value = hallway_to_utf8(defGetString(def));
		request.options[request.n_options++] = option;
	}

	answer = (Hallway__V1__ImportSchemaResponse *)
		hallway_relation_call(relation, "ImportSchema", &request.base, &request.relation,
							  &hallway__v1__import_schema_response__descriptor,
							  false, &error);
	if (answer == NULL)
		hallway_throw(error, NULL);
	return answer;
}

/* Whoever asks for a table by a wrong name would get nothing, and not know. */
static void
warn_of_missing(ImportForeignSchemaStmt *stmt,
				const Hallway__V1__ImportSchemaResponse *answer)
{
	ListCell   *lc;

	if (stmt->list_type != FDW_IMPORT_SCHEMA_LIMIT_TO)
		return;
	foreach(lc, stmt->table_list)
	{
		const char *wanted = lfirst_node(RangeVar, lc)->relname;
		bool		found = false;

		for (size_t i = 0; i < answer->n_tables && !found; i++)
			found = strcmp(from_utf8(answer->tables[i]->name), wanted) == 0;
		if (!found)
			ereport(WARNING,
					(errcode(ERRCODE_FDW_TABLE_NOT_FOUND),
					 errmsg("remote schema \"%s\" of server \"%s\" has no table \"%s\"",
							stmt->remote_schema, stmt->server_name, wanted),
					 errhint("Without LIMIT TO, IMPORT FOREIGN SCHEMA imports all that there are.")));
	}
}

/* ---- commands ------------------------------------------------------------- */

/* Without the local schema: PostgreSQL puts that in. */
static char *
create_table_command(const Hallway__V1__ImportedTable *table, const char *server)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "CREATE FOREIGN TABLE %s (", identifier(table->name));
	for (size_t i = 0; i < table->n_columns; i++)
	{
		const Hallway__V1__ImportedColumn *column = table->columns[i];

		appendStringInfo(&buf, "%s%s %s", i > 0 ? ", " : "",
						 identifier(column->name), checked_type(table, column));
		append_options(&buf, column->n_options, column->options);
		if (column->not_null)
			appendStringInfoString(&buf, " NOT NULL");
	}
	appendStringInfo(&buf, ") SERVER %s", quote_identifier(server));
	append_options(&buf, table->n_options, table->options);
	return buf.data;
}

static void
append_options(StringInfo buf, size_t n, Hallway__V1__Option **options)
{
	if (n == 0)
		return;
	appendStringInfoString(buf, " OPTIONS (");
	for (size_t i = 0; i < n; i++)
		appendStringInfo(buf, "%s%s %s", i > 0 ? ", " : "",
						 identifier(options[i]->name), literal(options[i]->value));
	appendStringInfoChar(buf, ')');
}

/*
 * The column's type as PostgreSQL writes it. What the sidecar sent is only ever
 * read as the name of a type, and does not get into the command.
 */
static char *
checked_type(const Hallway__V1__ImportedTable *table,
			 const Hallway__V1__ImportedColumn *column)
{
	const void *subject[2] = {table, column};
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = type_error_context,
		.arg = subject
	};
	Oid			type;
	int32		typmod;

	error_context_stack = &callback;
	hallway_parse_type(from_utf8(column->type), &type, &typmod);
	if (get_typtype(type) == TYPTYPE_PSEUDO)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
				 errmsg("a column cannot have type %s", format_type_be(type))));
	error_context_stack = callback.previous;

	return format_type_extended(type, typmod,
								FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

static void
type_error_context(void *arg)
{
	const void **subject = arg;
	const Hallway__V1__ImportedTable *table = subject[0];
	const Hallway__V1__ImportedColumn *column = subject[1];

	errcontext("type of column \"%s\" of imported table \"%s\"",
			   from_utf8(column->name), from_utf8(table->name));
}

/* Comments, and the view with its own. */
static Follow *
follow_commands(const Hallway__V1__ImportedTable *table, const char *schema,
				const ImportOptions *options)
{
	Follow	   *follow = palloc(sizeof(Follow));
	const char *name = quote_qualified_identifier(schema, from_utf8(table->name));
	StringInfoData view;

	follow->table = from_utf8(table->name);
	follow->commands = NIL;

	if (table->comment[0] != '\0')
		follow->commands = lappend(follow->commands,
								   psprintf("COMMENT ON FOREIGN TABLE %s IS %s",
											name, literal(table->comment)));
	for (size_t i = 0; i < table->n_columns; i++)
	{
		const Hallway__V1__ImportedColumn *column = table->columns[i];

		if (column->comment[0] != '\0')
			follow->commands = lappend(follow->commands,
									   psprintf("COMMENT ON COLUMN %s.%s IS %s",
												name, identifier(column->name),
												literal(column->comment)));
	}

	if (!options->create_views || table->n_columns == 0)
		return follow;

	/* As the caller, as the table itself would be read: with his credential. */
	initStringInfo(&view);
	appendStringInfo(&view, "CREATE VIEW %s WITH (security_invoker = true) AS SELECT ",
					 quote_qualified_identifier(schema,
												psprintf("%s%s", follow->table,
														 options->view_suffix)));
	for (size_t i = 0; i < table->n_columns; i++)
		appendStringInfo(&view, "%s%s", i > 0 ? ", " : "",
						 identifier(table->columns[i]->name));
	appendStringInfo(&view, " FROM %s", name);
	follow->commands = lappend(follow->commands, view.data);
	if (table->comment[0] != '\0')
		follow->commands = lappend(follow->commands,
								   psprintf("COMMENT ON VIEW %s IS %s",
											quote_qualified_identifier(schema,
																	   psprintf("%s%s", follow->table,
																				options->view_suffix)),
											literal(table->comment)));
	return follow;
}

/* ---- after each command --------------------------------------------------- */

/* The commands run in the same memory context in which they are made. */
static void
start_import(List *follows)
{
	Import	   *import = palloc0(sizeof(Import));

	import->follows = follows;
	import->at_reset.func = end_import;
	import->at_reset.arg = import;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &import->at_reset);
	running = import;
}

static void
end_import(void *arg)
{
	if (running == arg)
		running = NULL;
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	/* The statement's tree may not outlive its execution. */
	Import	   *import = running;
	char	   *created = NULL;
	ListCell   *lc;

	/* Nothing but IMPORT FOREIGN SCHEMA has this as a subcommand. */
	if (import != NULL && context == PROCESS_UTILITY_SUBCOMMAND &&
		IsA(pstmt->utilityStmt, CreateForeignTableStmt))
		created = pstrdup(((CreateForeignTableStmt *) pstmt->utilityStmt)->base.relation->relname);

	if (next_process_utility != NULL)
		next_process_utility(pstmt, queryString, readOnlyTree, context, params,
							 queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params,
								queryEnv, dest, qc);

	if (created == NULL)
		return;
	foreach(lc, import->follows)
	{
		Follow	   *follow = lfirst(lc);
		ListCell   *command;

		if (strcmp(follow->table, created) != 0)
			continue;
		foreach(command, follow->commands)
			run_command(lfirst(command));
		import->follows = foreach_delete_current(import->follows, lc);
		break;
	}
}

static void
run_command(const char *sql)
{
	RawStmt    *raw = linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT));
	PlannedStmt *statement = makeNode(PlannedStmt);

	statement->commandType = CMD_UTILITY;
	statement->canSetTag = false;
	statement->utilityStmt = raw->stmt;
	statement->stmt_location = raw->stmt_location;
	statement->stmt_len = raw->stmt_len;

	/* What the command before it has made must be visible. */
	CommandCounterIncrement();
	ProcessUtility(statement, sql, false, PROCESS_UTILITY_SUBCOMMAND, NULL, NULL,
				   None_Receiver, NULL);
}

/* ---- text ------------------------------------------------------------------ */

static char *
from_utf8(const char *text)
{
	return pg_any_to_server(text, strlen(text), PG_UTF8);
}

static char *
identifier(const char *utf8)
{
	return pstrdup(quote_identifier(from_utf8(utf8)));
}

static char *
literal(const char *utf8)
{
	return quote_literal_cstr(from_utf8(utf8));
}
