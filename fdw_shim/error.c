/*-------------------------------------------------------------------------
 *
 * error.c
 *		The sidecar's Error as a PostgreSQL error.
 *
 * The sidecar's text is UTF-8 and may quote what an API answered, so it is
 * bounded, and made fit for the database's encoding, before anybody sees it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "hallway.h"

#define MAX_ERROR_TEXT	8192

static int	error_code(const char *sqlstate);
static char *converted_text(char *text, int len);
static char *error_detail(const Hallway__V1__Error *error);

void
hallway_throw(const Hallway__V1__Error *error, Relation rel)
{
	char	   *message = hallway_server_text(error->message);
	char	   *detail = error_detail(error);
	char	   *hint = hallway_server_text(error->hint);
	char	   *column = hallway_server_text(error->column_name);
	char	   *table = hallway_server_text(error->table_name);

	errstart(ERROR, TEXTDOMAIN);
	errcode(error_code(error->sqlstate));
	errmsg_internal("%s", message[0] ? message : "the Hallway sidecar failed without saying why");
	if (detail[0])
		errdetail_internal("%s", detail);
	if (hint[0])
		errhint("%s", hint);
	if (rel != NULL)
	{
		err_generic_string(PG_DIAG_SCHEMA_NAME, get_namespace_name(RelationGetNamespace(rel)));
		err_generic_string(PG_DIAG_TABLE_NAME, RelationGetRelationName(rel));
	}
	else if (table[0])
		err_generic_string(PG_DIAG_TABLE_NAME, table);
	if (column[0])
		err_generic_string(PG_DIAG_COLUMN_NAME, column);
	errfinish(__FILE__, __LINE__, __func__);
	pg_unreachable();
}

void
hallway_warn(const char *text)
{
	ereport(WARNING, (errcode(ERRCODE_WARNING), errmsg_internal("%s", hallway_server_text(text))));
}

/* Anything but an error's five characters is shown as XX000. */
static int
error_code(const char *sqlstate)
{
	if (sqlstate == NULL || strlen(sqlstate) != 5)
		return ERRCODE_INTERNAL_ERROR;
	for (int i = 0; i < 5; i++)
		if (!((sqlstate[i] >= '0' && sqlstate[i] <= '9') ||
			  (sqlstate[i] >= 'A' && sqlstate[i] <= 'Z')))
			return ERRCODE_INTERNAL_ERROR;

	/* Success and warnings are not errors. */
	if (strncmp(sqlstate, "00", 2) == 0 || strncmp(sqlstate, "01", 2) == 0 ||
		strncmp(sqlstate, "02", 2) == 0)
		return ERRCODE_INTERNAL_ERROR;
	return MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]);
}

/* Detail and request id: what leads to the line in the sidecar's log. */
static char *
error_detail(const Hallway__V1__Error *error)
{
	StringInfoData buf;
	char	   *detail = hallway_server_text(error->detail);
	char	   *request = hallway_server_text(error->request_id);

	initStringInfo(&buf);
	appendStringInfoString(&buf, detail);
	if (buf.len > 0 && strchr(".!?", buf.data[buf.len - 1]) == NULL)
		appendStringInfoChar(&buf, '.');
	if (request[0])
		appendStringInfo(&buf, "%sRequest id: %s.", buf.len ? " " : "", request);
	return buf.data;
}

/*
 * A bounded copy in the database's encoding. What is not UTF-8, or has no counterpart in the
 * database's encoding, becomes "?" rather than a second error.
 */
char *
hallway_server_text(const char *text)
{
	int			len;
	char	   *copy;

	if (text == NULL || text[0] == '\0')
		return pstrdup("");
	len = strlen(text);
	if (len > MAX_ERROR_TEXT)
		len = pg_encoding_mbcliplen(PG_UTF8, text, len, MAX_ERROR_TEXT);
	copy = pnstrdup(text, len);
	for (int i = 0; i < len;)
	{
		int			n = pg_utf_mblen((unsigned char *) copy + i);

		if (n > len - i || !pg_utf8_islegal((unsigned char *) copy + i, n))
		{
			copy[i++] = '?';
			continue;
		}
		i += n;
	}
	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII)
		return copy;
	return converted_text(copy, len);
}

/* From valid UTF-8, without an error for what cannot be converted. */
static char *
converted_text(char *text, int len)
{
	int			encoding = GetDatabaseEncoding();
	Oid			proc = InvalidOid;
	StringInfoData buf;

	if (IsTransactionState())
		proc = FindDefaultConversionProc(PG_UTF8, encoding);
	initStringInfo(&buf);
	while (len > 0)
	{
		int			done = 0;

		if (OidIsValid(proc))
		{
			enlargeStringInfo(&buf, len * MAX_CONVERSION_GROWTH + 1);
			done = pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding,
												 (unsigned char *) text, len,
												 (unsigned char *) buf.data + buf.len,
												 buf.maxlen - buf.len, true);
			buf.len += strlen(buf.data + buf.len);
		}
		else
			while (done < len && !IS_HIGHBIT_SET(text[done]))
				appendStringInfoChar(&buf, text[done++]);
		text += done;
		len -= done;
		if (len > 0)
		{
			int			n = Min(pg_utf_mblen((unsigned char *) text), len);

			appendStringInfoChar(&buf, '?');
			text += n;
			len -= n;
		}
	}
	return buf.data;
}
