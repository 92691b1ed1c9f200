/*-------------------------------------------------------------------------
 *
 * backend.c
 *		As much of a PostgreSQL server as the code under test calls.
 *
 * Memory comes from malloc, piece by piece, so that AddressSanitizer sees where
 * each ends and when it is freed. Input and receive functions do not parse: they
 * read what they are given, to its end, as the real ones may.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/base64.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "backend.h"
#include "hallway.h"
#include "wire.h"

/* The declarations of what is stood in for are not all in headers used here. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

sigjmp_buf	fuzz_error;

/* ---- memory --------------------------------------------------------------- */

typedef struct Piece
{
	struct Piece *next;
	struct Piece *prev;
	void	   *data;
} Piece;

/* Points into a context; what PostgreSQL's own fields say does not matter. */
typedef struct Context
{
	MemoryContextData header;
	Piece	   *pieces;
} Context;

static Context top;
static Context others[8];
static int	nothers;

MemoryContext CurrentMemoryContext = (MemoryContext) &top;
ErrorContextCallback *error_context_stack;

static void
context_reset(Context *context)
{
	while (context->pieces != NULL)
	{
		Piece	   *piece = context->pieces;

		context->pieces = piece->next;
		free(piece->data);
		free(piece);
	}
}

void
fuzz_begin(void)
{
	CurrentMemoryContext = (MemoryContext) &top;
	error_context_stack = NULL;
	nothers = 0;
}

void
fuzz_end(void)
{
	for (int i = 0; i < nothers; i++)
		context_reset(&others[i]);
	context_reset(&top);
}

void *
MemoryContextAllocExtended(MemoryContext cxt, Size size, int flags)
{
	Context    *context = (Context *) cxt;
	Piece	   *piece = malloc(sizeof(Piece));

	piece->data = flags & MCXT_ALLOC_ZERO ? calloc(1, size) : malloc(size);
	piece->prev = NULL;
	piece->next = context->pieces;
	if (piece->next)
		piece->next->prev = piece;
	context->pieces = piece;
	return piece->data;
}

void
pfree(void *pointer)
{
	Context    *contexts[lengthof(others) + 1] = {&top};
	int			n = 1;

	for (int i = 0; i < nothers; i++)
		contexts[n++] = &others[i];
	for (int i = 0; i < n; i++)
		for (Piece *piece = contexts[i]->pieces; piece != NULL; piece = piece->next)
			if (piece->data == pointer)
			{
				if (piece->prev)
					piece->prev->next = piece->next;
				else
					contexts[i]->pieces = piece->next;
				if (piece->next)
					piece->next->prev = piece->prev;
				free(pointer);
				free(piece);
				return;
			}
	abort();					/* not ours: a bug */
}

void *
palloc(Size size)
{
	if (size > MaxAllocSize)
		elog(ERROR, "invalid memory alloc request size %zu", size);
	return MemoryContextAllocExtended(CurrentMemoryContext, size, 0);
}

void *
palloc0(Size size)
{
	return MemoryContextAllocExtended(CurrentMemoryContext, size, MCXT_ALLOC_ZERO);
}

void *
palloc_extended(Size size, int flags)
{
	return MemoryContextAllocExtended(CurrentMemoryContext, size, flags);
}

void *
MemoryContextAllocZero(MemoryContext cxt, Size size)
{
	return MemoryContextAllocExtended(cxt, size, MCXT_ALLOC_ZERO);
}

void *
wire_alloc(MemoryContext cxt, size_t size)
{
	return MemoryContextAllocExtended(cxt, size, 0);
}

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name, Size minContextSize,
							  Size initBlockSize, Size maxBlockSize)
{
	if (nothers == lengthof(others))
		siglongjmp(fuzz_error, 1);	/* more messages than are of interest */
	memset(&others[nothers], 0, sizeof(Context));
	return (MemoryContext) &others[nothers++];
}

void
MemoryContextReset(MemoryContext cxt)
{
	context_reset((Context *) cxt);
}

char *
pnstrdup(const char *in, Size len)
{
	char	   *copy = palloc((len = strnlen(in, len)) + 1);

	memcpy(copy, in, len);
	copy[len] = '\0';
	return copy;
}

char *
pstrdup(const char *in)
{
	return pnstrdup(in, strlen(in));
}

char *
psprintf(const char *fmt,...)
{
	char		buf[1024];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(buf, sizeof(buf), fmt, args);
	va_end(args);
	return pstrdup(buf);
}

/* ---- errors ------------------------------------------------------------------ */

bool
errstart(int elevel, const char *domain)
{
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return true;
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	for (ErrorContextCallback *c = error_context_stack; c != NULL; c = c->previous)
		c->callback(c->arg);
	siglongjmp(fuzz_error, 1);
}

int
errcode(int sqlerrcode)
{
	return 0;
}

/* Formats, so that what messages quote is read. */
#define FORMATTING(name) \
int \
name(const char *fmt,...) \
{ \
	char		buf[1024]; \
	va_list		args; \
\
	va_start(args, fmt); \
	vsnprintf(buf, sizeof(buf), fmt, args); \
	va_end(args); \
	return 0; \
}

FORMATTING(errmsg)
FORMATTING(errmsg_internal)
FORMATTING(errdetail)
FORMATTING(errdetail_internal)
FORMATTING(errhint)
FORMATTING(errcontext_msg)

int
set_errcontext_domain(const char *domain)
{
	return 0;
}

int
err_generic_string(int field, const char *str)
{
	return strlen(str) > NAMEDATALEN;
}

/* ---- encodings ------------------------------------------------------------------ */

static int	database_encoding = PG_UTF8;

void
fuzz_set_encoding(int encoding)
{
	database_encoding = encoding;
}

int
GetDatabaseEncoding(void)
{
	return database_encoding;
}

bool
pg_verify_mbstr(int encoding, const char *mbstr, int len, bool noError)
{
	if (pg_encoding_verifymbstr(encoding, mbstr, len) == len)
		return true;
	if (!noError)
		elog(ERROR, "invalid byte sequence");
	return false;
}

/* To LATIN1, the only other encoding here. */
char *
pg_any_to_server(const char *s, int len, int encoding)
{
	char	   *result;
	int			n = 0;

	if (database_encoding == encoding)
		return (char *) s;
	result = palloc(len + 1);
	for (int i = 0; i < len; i++)
		result[n++] = (s[i] & 0xC0) == 0x80 ? '?' : s[i];
	result[n] = '\0';
	return result;
}

int
pg_encoding_mbcliplen(int encoding, const char *mbstr, int len, int limit)
{
	int			clipped = 0;

	while (clipped < len)
	{
		int			n = pg_encoding_mblen(encoding, mbstr + clipped);

		if (clipped + n > Min(limit, len))
			break;
		clipped += n;
	}
	return clipped;
}

bool
IsTransactionState(void)
{
	return false;
}

Oid
FindDefaultConversionProc(int32 for_encoding, int32 to_encoding)
{
	return InvalidOid;
}

int
pg_do_encoding_conversion_buf(Oid proc, int src_encoding, int dest_encoding,
							  unsigned char *src, int srclen,
							  unsigned char *dest, int destlen, bool noError)
{
	abort();
}

/* ---- types ------------------------------------------------------------------------ */

int16
fuzz_type_len(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return 1;
		case INT2OID:
			return 2;
		case INT4OID:
		case FLOAT4OID:
		case DATEOID:
		case FUZZ_ENUM:
			return 4;
		case INT8OID:
		case FLOAT8OID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return 8;
		case UUIDOID:
			return 16;
		case INTERVALOID:
			return 16;
		default:
			return -1;
	}
}

void
get_typlenbyvalalign(Oid type, int16 *len, bool *byval, char *align)
{
	*len = fuzz_type_len(type);
	*byval = *len > 0 && *len <= 8;
	*align = TYPALIGN_CHAR;
}

Oid
getBaseTypeAndTypmod(Oid type, int32 *typmod)
{
	return type == FUZZ_DOMAIN ? TEXTOID : type;
}

Oid
getBaseType(Oid type)
{
	return getBaseTypeAndTypmod(type, NULL);
}

Oid
hallway_type_element(Oid type)
{
	switch (type)
	{
		case INT4ARRAYOID:
			return INT4OID;
		case TEXTARRAYOID:
			return TEXTOID;
		case NUMERICARRAYOID:
			return NUMERICOID;
		case FUZZ_DOMAIN_ARRAY:
			return FUZZ_DOMAIN;
		default:
			return InvalidOid;
	}
}

Hallway__V1__Kind
hallway_type_kind(Oid type)
{
	static const struct
	{
		Oid			type;
		Hallway__V1__Kind kind;
	}			kinds[] = {
		{BOOLOID, HALLWAY__V1__KIND__KIND_BOOL}, {INT2OID, HALLWAY__V1__KIND__KIND_INT2},
		{INT4OID, HALLWAY__V1__KIND__KIND_INT4}, {INT8OID, HALLWAY__V1__KIND__KIND_INT8},
		{FLOAT4OID, HALLWAY__V1__KIND__KIND_FLOAT4}, {FLOAT8OID, HALLWAY__V1__KIND__KIND_FLOAT8},
		{NUMERICOID, HALLWAY__V1__KIND__KIND_NUMERIC}, {TEXTOID, HALLWAY__V1__KIND__KIND_TEXT},
		{VARCHAROID, HALLWAY__V1__KIND__KIND_VARCHAR}, {BPCHAROID, HALLWAY__V1__KIND__KIND_BPCHAR},
		{DATEOID, HALLWAY__V1__KIND__KIND_DATE}, {TIMEOID, HALLWAY__V1__KIND__KIND_TIME},
		{TIMESTAMPOID, HALLWAY__V1__KIND__KIND_TIMESTAMP},
		{TIMESTAMPTZOID, HALLWAY__V1__KIND__KIND_TIMESTAMPTZ},
		{UUIDOID, HALLWAY__V1__KIND__KIND_UUID}, {JSONOID, HALLWAY__V1__KIND__KIND_JSON},
		{JSONBOID, HALLWAY__V1__KIND__KIND_JSONB}, {BYTEAOID, HALLWAY__V1__KIND__KIND_BYTEA},
		{FUZZ_ENUM, HALLWAY__V1__KIND__KIND_ENUM},
	};

	for (int i = 0; i < lengthof(kinds); i++)
		if (kinds[i].type == type)
			return kinds[i].kind;
	return HALLWAY__V1__KIND__KIND_OTHER;
}

char *
format_type_be(Oid type)
{
	return psprintf("type %u", type);
}

/* The function's OID is its type's; the calls below look at it. */
void
getTypeInputInfo(Oid type, Oid *function, Oid *ioparam)
{
	*function = *ioparam = type;
}

void
getTypeBinaryInputInfo(Oid type, Oid *function, Oid *ioparam)
{
	*function = *ioparam = type;
}

void
fmgr_info_cxt(Oid function, FmgrInfo *finfo, MemoryContext cxt)
{
	finfo->fn_oid = function;
}

static Datum
made_value(Oid type, const char *bytes, size_t len)
{
	int16		typlen = fuzz_type_len(type);
	struct varlena *v;

	if (typlen > 0 && typlen <= 8)
		return (Datum) 0;
	v = palloc0(VARHDRSZ + Max(len, 16));
	SET_VARSIZE(v, VARHDRSZ + len);
	memcpy(VARDATA(v), bytes, len);
	return PointerGetDatum(v);
}

Datum
InputFunctionCall(FmgrInfo *finfo, char *str, Oid ioparam, int32 typmod)
{
	if (str[0] == '!')
		elog(ERROR, "refused");
	return made_value(finfo->fn_oid, str, strlen(str));
}

Datum
ReceiveFunctionCall(FmgrInfo *finfo, StringInfo buf, Oid ioparam, int32 typmod)
{
	int			len = buf->len;
	Datum		result;

	if (len > 0 && buf->data[0] == '!')
		elog(ERROR, "refused");
	if (len > 0 && buf->data[len - 1] == '!')
		len--;					/* leaves a byte */
	buf->cursor = len;
	result = made_value(finfo->fn_oid, buf->data, len);
	if (finfo->fn_oid == NUMERICOID)	/* fuzz.c looks at these: zero */
		result = made_value(NUMERICOID, "\x00\x80", 2);
	return result;
}

void
domain_check(Datum value, bool isnull, Oid type, void **extra, MemoryContext cxt)
{
	if (isnull)
		elog(ERROR, "domain does not allow null values");
	if (VARSIZE_ANY_EXHDR(DatumGetPointer(value)) > 100)
		elog(ERROR, "value too long for domain");
}

bool
hallway_numeric_in_place(void)
{
	return true;
}

text *
cstring_to_text(const char *s)
{
	return (text *) DatumGetPointer(made_value(TEXTOID, s, strlen(s)));
}

/* ---- arrays --------------------------------------------------------------------------- */

int
ArrayGetNItems(int ndim, const int *dims)
{
	int64		n = ndim > 0 ? 1 : 0;

	for (int i = 0; i < ndim; i++)
	{
		if (dims[i] < 0)
			elog(ERROR, "array size exceeds the maximum allowed");
		n *= dims[i];
		if (n > (int64) (MaxAllocSize / sizeof(Datum)))
			elog(ERROR, "array size exceeds the maximum allowed");
	}
	return (int) n;
}

void
ArrayCheckBounds(int ndim, const int *dims, const int *lb)
{
	for (int i = 0; i < ndim; i++)
		if ((int64) dims[i] + lb[i] > PG_INT32_MAX)
			elog(ERROR, "array lower bound is too large");
}

ArrayType *
construct_empty_array(Oid elmtype)
{
	return (ArrayType *) DatumGetPointer(made_value(INT4ARRAYOID, "", 0));
}

ArrayType *
construct_md_array(Datum *elems, bool *nulls, int ndims, int *dims, int *lbs,
				   Oid elmtype, int elmlen, bool elmbyval, char elmalign)
{
	unsigned char sum = 0;

	for (int i = 0; i < ArrayGetNItems(ndims, dims); i++)
		if (!nulls[i] && !elmbyval)
		{
			struct varlena *v = (struct varlena *) DatumGetPointer(elems[i]);
			int			len = VARSIZE_ANY_EXHDR(v);

			for (int j = 0; j < len; j++)
				sum += ((unsigned char *) VARDATA_ANY(v))[j];
		}
	return (ArrayType *) DatumGetPointer(made_value(INT4ARRAYOID, (char *) &sum, 1));
}

/* ---- slots and lists -------------------------------------------------------------------- */

static void
slot_clear(TupleTableSlot *slot)
{
	slot->tts_nvalid = 0;
}

static const TupleTableSlotOps slot_ops = {.clear = slot_clear};

TupleTableSlot *
fuzz_slot(TupleDesc desc)
{
	TupleTableSlot *slot = palloc0(sizeof(TupleTableSlot));

	*(const TupleTableSlotOps **) &slot->tts_ops = &slot_ops;
	slot->tts_tupleDescriptor = desc;
	return slot;
}

TupleTableSlot *
ExecStoreVirtualTuple(TupleTableSlot *slot)
{
	slot->tts_nvalid = slot->tts_tupleDescriptor->natts;
	return slot;
}

List *
fuzz_list(int n)
{
	List	   *list = palloc0(sizeof(List));

	list->type = T_IntList;
	list->length = list->max_length = n;
	list->elements = palloc0(Max(n, 1) * sizeof(ListCell));
	for (int i = 0; i < n; i++)
		list->elements[i].int_value = i + 1;
	return list;
}

/* ---- not reached, or of no interest ------------------------------------------------------- */

Datum
DirectFunctionCall1Coll(PGFunction func, Oid collation, Datum arg1)
{
	abort();
}

Datum
DirectFunctionCall3Coll(PGFunction func, Oid collation, Datum arg1, Datum arg2, Datum arg3)
{
	abort();
}

Datum
numeric_in(PG_FUNCTION_ARGS)
{
	abort();
}

Datum
numeric_send(PG_FUNCTION_ARGS)
{
	abort();
}

struct varlena *
pg_detoast_datum(struct varlena *datum)
{
	return datum;
}

bool
wire_stream_unprocessed(const WireStream *stream)
{
	return false;
}

char *
get_namespace_name(Oid nspid)
{
	return NULL;
}

void
initStringInfo(StringInfo str)
{
	str->data = palloc0(str->maxlen = 1024);
	str->len = str->cursor = 0;
}

static void
append(StringInfo str, const char *data, int len)
{
	char	   *grown;

	if (str->len + len + 1 > str->maxlen)
	{
		grown = palloc0(str->maxlen = (str->len + len + 1) * 2);
		memcpy(grown, str->data, str->len);
		str->data = grown;
	}
	memcpy(str->data + str->len, data, len);
	str->len += len;
	str->data[str->len] = '\0';
}

void
enlargeStringInfo(StringInfo str, int needed)
{
	append(str, "", 0);
}

void
appendStringInfoString(StringInfo str, const char *s)
{
	append(str, s, strlen(s));
}

void
appendStringInfoChar(StringInfo str, char ch)
{
	append(str, &ch, 1);
}

void
appendStringInfo(StringInfo str, const char *fmt,...)
{
	char		buf[16384];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(buf, sizeof(buf), fmt, args);
	va_end(args);
	appendStringInfoString(str, buf);
}
