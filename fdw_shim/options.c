/*-------------------------------------------------------------------------
 *
 * options.c
 *		Options of wrapper, servers, user mappings, tables and columns: which
 *		ones the shim knows, and whether their values are right.
 *
 * A name that is not in the array is the connector's. It travels to the sidecar
 * as it is, and the connector refuses it at first use if it does not know it
 * either: only the connector knows its options, and the validator must work
 * without a sidecar (pg_restore runs it).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/un.h>

#include "access/reloptions.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "compat.h"
#include "hallway.h"

PG_FUNCTION_INFO_V1(hallway_fdw_validator);

/* A check says what is wrong with the value, or NULL. */
typedef const char *(*OptionCheck) (const char *value);

typedef struct HallwayOption
{
	const char *keyword;
	Oid			catalog;		/* where the option may stand */
	bool		for_shim;		/* the shim's alone: not sent to the sidecar */
	OptionCheck check;			/* NULL: any text */
} HallwayOption;

static const char *check_boolean(const char *value);
static const char *check_row_count(const char *value);
static const char *check_cache(const char *value);
static const char *check_duration(const char *value);
static const char *check_cache_scope(const char *value);
static const char *check_update_reads(const char *value);
static const char *check_on_rollback(const char *value);
static const char *check_write_at(const char *value);
static const char *check_batch_size(const char *value);
static const char *check_upsert_key(const char *value);
static const char *check_delete_sets(const char *value);
static const char *check_not_empty(const char *value);

/*
 * A connector must not have options whose names are within two edits of one
 * that is for_shim: they would be taken for a slip of the pen.
 */
static const HallwayOption hallway_options[] = {
	{"address", ForeignDataWrapperRelationId, true, hallway_check_address},

	{"connector", ForeignServerRelationId, false, check_not_empty},
	{"address", ForeignServerRelationId, true, hallway_check_address},
	{"updatable", ForeignServerRelationId, true, check_boolean},
	{"async_capable", ForeignServerRelationId, true, check_boolean},
	{"cache", ForeignServerRelationId, true, check_cache},
	{"max_age", ForeignServerRelationId, true, check_duration},
	{"refresh_every", ForeignServerRelationId, true, check_duration},
	{"stale_while_error", ForeignServerRelationId, true, check_duration},
	{"cache_scope", ForeignServerRelationId, true, check_cache_scope},
	{"sync_as", ForeignServerRelationId, true, check_not_empty},
	{"compare_every", ForeignServerRelationId, true, check_duration},
	{"sync_overlap", ForeignServerRelationId, true, check_duration},
	{"webhook_secret", ForeignServerRelationId, true, check_not_empty},
	{"update_reads", ForeignServerRelationId, true, check_update_reads},
	{"on_rollback", ForeignServerRelationId, true, check_on_rollback},
	{"write_at", ForeignServerRelationId, true, check_write_at},
	{"journal", ForeignServerRelationId, true, check_boolean},
	{"journal_values", ForeignServerRelationId, true, check_boolean},
	{"batch_size", ForeignServerRelationId, true, check_batch_size},

	{"secret", UserMappingRelationId, false, check_not_empty},
	{"authorization", UserMappingRelationId, false, check_not_empty},

	{"object", ForeignTableRelationId, false, check_not_empty},
	{"updatable", ForeignTableRelationId, true, check_boolean},
	{"async_capable", ForeignTableRelationId, true, check_boolean},
	{"cache", ForeignTableRelationId, true, check_cache},
	{"max_age", ForeignTableRelationId, true, check_duration},
	{"refresh_every", ForeignTableRelationId, true, check_duration},
	{"stale_while_error", ForeignTableRelationId, true, check_duration},
	{"cache_scope", ForeignTableRelationId, true, check_cache_scope},
	{"sync_as", ForeignTableRelationId, true, check_not_empty},
	{"compare_every", ForeignTableRelationId, true, check_duration},
	{"sync_overlap", ForeignTableRelationId, true, check_duration},
	{"webhook_secret", ForeignTableRelationId, true, check_not_empty},
	{"update_reads", ForeignTableRelationId, true, check_update_reads},
	{"on_rollback", ForeignTableRelationId, true, check_on_rollback},
	{"write_at", ForeignTableRelationId, true, check_write_at},
	{"journal", ForeignTableRelationId, true, check_boolean},
	{"journal_values", ForeignTableRelationId, true, check_boolean},
	{"batch_size", ForeignTableRelationId, true, check_batch_size},
	{"upsert_key", ForeignTableRelationId, true, check_upsert_key},
	{"delete_sets", ForeignTableRelationId, true, check_delete_sets},
	{"estimated_rows", ForeignTableRelationId, true, check_row_count},

	{"field", AttributeRelationId, false, check_not_empty},
	{"key", AttributeRelationId, false, check_boolean},
};

static const HallwayOption *find_option(const char *keyword, Oid catalog);
static void check_option(const DefElem *def, Oid catalog);
static void check_sync_as(const char *role);
static void refuse_unknown(const char *keyword, Oid catalog);
static void refuse_credential(const char *keyword, Oid catalog);
static const char *near_miss(const char *keyword, Oid catalog);
static char *valid_options(Oid catalog);

/*
 * Validates the options that an object has after CREATE or ALTER. Raises an
 * ERROR if an option or its value is wrong.
 */
Datum
hallway_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	ListCell   *lc;

	foreach(lc, options)
		check_option(lfirst(lc), catalog);

	if (catalog == ForeignServerRelationId && hallway_option(options, "connector") == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("a server of the foreign-data wrapper \"hallway\" needs the option \"connector\""),
				 errhint("It names the connector that speaks the API, as in OPTIONS (connector 'rest', manifest 'crm.yaml').")));

	PG_RETURN_VOID();
}

/* Why an address will not do, or NULL. The only form is unix:/path. */
const char *
hallway_check_address(const char *address)
{
	const char *path;

	if (strncmp(address, "unix:", 5) != 0)
		return "An address has the form \"unix:/path/of/socket\".";
	path = address + 5;
	if (path[0] != '/')
		return "The path of the socket in \"unix:/path/of/socket\" must be absolute.";
	if (strlen(path) >= sizeof(((struct sockaddr_un *) NULL)->sun_path))
		return "The path of the socket is longer than the system allows.";
	return NULL;
}

/* The address of the server's own option, its wrapper's, or the setting. */
const char *
hallway_server_address(ForeignServer *server)
{
	const char *address = hallway_server_address_option(server);

	return address != NULL ? address : hallway_address;
}

const char *
hallway_server_address_option(ForeignServer *server)
{
	const char *address = hallway_option(server->options, "address");

	if (address == NULL)
		address = hallway_option(GetForeignDataWrapper(server->fdwid)->options, "address");
	return address;
}

const char *
hallway_option(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst(lc);

		if (strcmp(def->defname, name) == 0)
			return defGetString(def);
	}
	return NULL;
}

/* A boolean option of the table, else of its server, else otherwise. */
bool
hallway_boolean_option(ForeignTable *table, ForeignServer *server,
					   const char *name, bool otherwise)
{
	const char *value = hallway_table_option(table, server, name, NULL);

	if (value != NULL)
		(void) parse_bool(value, &otherwise);
	return otherwise;
}

/* An option's value of the table, else of its server, else otherwise. */
const char *
hallway_table_option(ForeignTable *table, ForeignServer *server,
					 const char *name, const char *otherwise)
{
	const char *value = hallway_option(table->options, name);

	if (value == NULL)
		value = hallway_option(server->options, name);
	return value != NULL ? value : otherwise;
}

/*
 * Milliseconds of a time as PostgreSQL's settings have them ("90s", "5 min"), or
 * -1 if it is none; then *hint may say more.
 */
double
hallway_duration(const char *value, const char **hint)
{
	double		result;

	*hint = NULL;
	if (!parse_real(value, &result, GUC_UNIT_MS, hint) || !(result >= 0))
		return -1;
	return result <= HALLWAY_MAX_DURATION ? result : -1;
}

/*
 * The column that a value of the option delete_sets names, and at *text what
 * stands behind the sign of equality; NULL if it is not of that form.
 */
const char *
hallway_delete_sets(const char *value, const char **text)
{
	bool		quoted = false;
	const char *sign;
	List	   *names;

	for (sign = value; *sign != '\0' && (quoted || *sign != '='); sign++)
	{
		if (*sign == '"')
			quoted = !quoted;
	}
	if (*sign != '=' ||
		!SplitIdentifierString(pnstrdup(value, sign - value), ',', &names) ||
		list_length(names) != 1)
		return NULL;
	*text = sign + 1;
	return linitial(names);
}

/* True for options that mean nothing to a sidecar and are not sent. */
bool
hallway_option_is_ours(const char *name, Oid catalog)
{
	const HallwayOption *option = find_option(name, catalog);

	return option != NULL && option->for_shim;
}

/* Of a user mapping: not a secret itself, but the name of one of the sidecar's. */
static bool
names_a_secret(const char *name)
{
	return strcmp(name, "secret") == 0 || strcmp(name, "authorization") == 0;
}

static void
check_option(const DefElem *def, Oid catalog)
{
	const HallwayOption *option = find_option(def->defname, catalog);
	const char *problem;

	if (catalog == UserMappingRelationId && !hallway_allow_inline_secrets && !names_a_secret(def->defname))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("user mappings may not hold the option \"%s\"", def->defname),
				 errdetail("hallway.allow_inline_secrets is off."),
				 errhint("Name a secret in the sidecar's secret store by the option \"secret\".")));

	if (option == NULL)
	{
		refuse_credential(def->defname, catalog);
		refuse_unknown(def->defname, catalog);
		return;
	}

	problem = option->check != NULL ? option->check(defGetString((DefElem *) def)) : NULL;
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid value for option \"%s\"", def->defname),
				 errdetail("%s", problem)));

	/* It decides to which process on this machine the credentials are told. */
	if (strcmp(def->defname, "address") == 0 && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set the option \"address\""),
				 errdetail("Only superusers may say where a sidecar listens."),
				 errhint("Leave it out to use the sidecar of the setting hallway.address.")));

	/* USAGE on a server lets a role map itself, to whatever is kept there. */
	if (catalog == UserMappingRelationId && names_a_secret(def->defname) && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set the option \"%s\"", def->defname),
				 errdetail("Only superusers may say which of the sidecar's secrets a role uses."),
				 errhint("Ask a superuser to create or alter the user mapping.")));

	if (strcmp(def->defname, "sync_as") == 0)
		check_sync_as(defGetString((DefElem *) def));
}

/*
 * A replica is filled with the credential of sync_as, for everyone who may read
 * the table: only who may act as that role can lend it.
 */
static void
check_sync_as(const char *role)
{
	if (has_privs_of_role(GetUserId(), get_role_oid(role, false)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to set the option \"sync_as\" to \"%s\"", role),
			 errdetail("Only members of that role may have its credential used.")));
}

/*
 * The wrapper has no connector, so all its options are ours; elsewhere only a
 * name that is nearly one of ours is refused.
 */
static void
refuse_unknown(const char *keyword, Oid catalog)
{
	const char *meant = near_miss(keyword, catalog);

	if (meant == NULL && catalog != ForeignDataWrapperRelationId)
		return;

	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", keyword),
			 meant != NULL ? errdetail("Perhaps you meant the option \"%s\".", meant) : 0,
			 catalog == ForeignDataWrapperRelationId ?
			 errhint("Valid options in this context are: %s", valid_options(catalog)) :
			 errhint("Valid options in this context are: %s, and those of the connector.",
					 valid_options(catalog))));
}

/*
 * What every role can read is no place for a credential: refused at once, not
 * when the connector sees it.
 */
static void
refuse_credential(const char *keyword, Oid catalog)
{
	static const char *const names[] = {
		"secret", "authorization", "password", "token", "api_key",
		"client_secret", "refresh_token", "private_key"
	};

	if (catalog == UserMappingRelationId)
		return;
	for (size_t i = 0; i < lengthof(names); i++)
	{
		if (strcmp(keyword, names[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("invalid option \"%s\"", keyword),
					 errdetail("It belongs to a user mapping: all roles can read the options of other objects."),
					 errhint("Name a secret in the sidecar's secret store: CREATE USER MAPPING FOR ... SERVER ... OPTIONS (secret '...').")));
	}
}

static const HallwayOption *
find_option(const char *keyword, Oid catalog)
{
	for (size_t i = 0; i < lengthof(hallway_options); i++)
	{
		if (hallway_options[i].catalog == catalog &&
			strcmp(hallway_options[i].keyword, keyword) == 0)
			return &hallway_options[i];
	}
	return NULL;
}

/* The option of ours that is at most two edits away, or NULL. */
static const char *
near_miss(const char *keyword, Oid catalog)
{
	const char *best = NULL;
	int			best_distance = 3;
	int			len = strlen(keyword);

	/* A name that long is a miss, and levenshtein() would not take it. */
	if (len >= NAMEDATALEN)
		return NULL;

	for (size_t i = 0; i < lengthof(hallway_options); i++)
	{
		const HallwayOption *option = &hallway_options[i];
		int			distance;

		/* Short names are within two edits of too many good ones. */
		if (option->catalog != catalog || strlen(option->keyword) < 7)
			continue;
		distance = varstr_levenshtein(option->keyword, strlen(option->keyword),
									  keyword, len, 1, 1, 1, true);
		if (distance < best_distance)
		{
			best = option->keyword;
			best_distance = distance;
		}
	}
	return best;
}

static char *
valid_options(Oid catalog)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (size_t i = 0; i < lengthof(hallway_options); i++)
	{
		if (hallway_options[i].catalog == catalog)
			appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "",
							 hallway_options[i].keyword);
	}
	return buf.data;
}

static const char *
check_boolean(const char *value)
{
	bool		ignored;

	return parse_bool(value, &ignored) ? NULL : "It takes a Boolean value: true or false.";
}

static const char *
check_row_count(const char *value)
{
	char	   *end;
	double		rows;

	errno = 0;
	rows = strtod(value, &end);
	if (errno != 0 || end == value || *end != '\0' || !(rows >= 1 && rows <= 1e15))
		return "It takes a number of rows, at least 1.";
	return NULL;
}

static const char *
check_cache(const char *value)
{
	if (strcmp(value, "off") == 0 || strcmp(value, "read_through") == 0 ||
		strcmp(value, "replica") == 0)
		return NULL;
	return "It takes \"off\", \"read_through\" (rows are kept for max_age) or \"replica\" (all rows are kept, and refreshed every refresh_every).";
}

static const char *
check_duration(const char *value)
{
	const char *hint;

	if (hallway_duration(value, &hint) >= 0)
		return NULL;
	return hint != NULL ? psprintf("It takes a time. %s", hint) :
		"It takes a time from 0 to 3650d, such as \"90s\" or \"5 min\".";
}

static const char *
check_update_reads(const char *value)
{
	if (strcmp(value, "live") == 0 || strcmp(value, "cache") == 0)
		return NULL;
	return "It takes \"live\" (rows that feed a write are read from the API) or \"cache\".";
}

static const char *
check_cache_scope(const char *value)
{
	if (strcmp(value, "server") == 0 || strcmp(value, "credential") == 0)
		return NULL;
	return "It takes \"credential\" (each user mapping sees its own rows) or \"server\" (all see the same).";
}

static const char *
check_on_rollback(const char *value)
{
	if (strcmp(value, "keep") == 0 || strcmp(value, "compensate") == 0)
		return NULL;
	return "It takes \"keep\" (what was written stays in the API) or \"compensate\" (it is undone there).";
}

static const char *
check_write_at(const char *value)
{
	if (strcmp(value, "statement") == 0 || strcmp(value, "commit") == 0 ||
		strcmp(value, "after_commit") == 0)
		return NULL;
	return "It takes \"statement\" (the API is called at once), \"commit\" (just before the transaction commits) or \"after_commit\" (when it has).";
}

static const char *
check_batch_size(const char *value)
{
	int			rows;

	if (!parse_int(value, &rows, 0, NULL) || rows < 1 || rows > HALLWAY_MAX_BATCH)
		return psprintf("It takes a number of rows from 1 to %d.", HALLWAY_MAX_BATCH);
	return NULL;
}

/* Whether the table has such columns is known when it is written to. */
static const char *
check_upsert_key(const char *value)
{
	List	   *names;

	if (!SplitIdentifierString(pstrdup(value), ',', &names) || names == NIL)
		return "It takes names of columns, separated by commas, as in \"email\" or \"account, email\".";
	return NULL;
}

static const char *
check_delete_sets(const char *value)
{
	const char *text;

	if (hallway_delete_sets(value, &text) == NULL)
		return "It takes a column and a value, as in \"archived=true\".";
	return NULL;
}

static const char *
check_not_empty(const char *value)
{
	return value[0] != '\0' ? NULL : "It must not be empty.";
}
