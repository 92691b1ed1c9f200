/*-------------------------------------------------------------------------
 *
 * fuzz.c
 *		libFuzzer target for what the shim reads from a sidecar: the framing of
 *		messages, the envelope of a batch, tuples and values, and errors.
 *
 * The code under test is the shim's own, unchanged; backend.c stands in for the
 * server around it. An input is three bytes (table, mode, chunk size) and what
 * the sidecar would have sent. Wanted is a row or an error: every value that
 * comes out is read whole, and text must be valid. Anything else is AddressSanitizer's
 * or UndefinedBehaviorSanitizer's to report.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "backend.h"
#include "hallway.h"
#include "wire.h"

#define MAX_COLUMNS 24

typedef struct Column
{
	Oid			type;
	int32		typmod;
} Column;

typedef struct Table
{
	int			ncolumns;
	Column		columns[MAX_COLUMNS];
} Table;

#define VARCHAR(n) {VARCHAROID, (n) + VARHDRSZ}
#define NUMERIC(p, s) {NUMERICOID, (((p) << 16) | ((s) & 0x7ff)) + VARHDRSZ}

static const Table tables[] = {
	{21, {{BOOLOID, -1}, {INT2OID, -1}, {INT4OID, -1}, {INT8OID, -1}, {FLOAT4OID, -1},
	{FLOAT8OID, -1}, {NUMERICOID, -1}, NUMERIC(12, 2), {TEXTOID, -1}, VARCHAR(5),
	{BPCHAROID, 3 + VARHDRSZ}, {DATEOID, -1}, {TIMEOID, -1}, {TIMESTAMPOID, -1},
	{TIMESTAMPTZOID, 3}, {UUIDOID, -1}, {JSONOID, -1}, {JSONBOID, -1}, {BYTEAOID, -1},
	{FUZZ_ENUM, -1}, {INTERVALOID, -1}}},
	{0, {{0, 0}}},
	{1, {{TEXTOID, -1}}},
	{3, {{INT8OID, -1}, {TEXTOID, -1}, {UUIDOID, -1}}},
	{4, {{INT4ARRAYOID, -1}, {TEXTARRAYOID, -1}, {NUMERICARRAYOID, -1}, {FUZZ_DOMAIN_ARRAY, -1}}},
	{3, {{FUZZ_DOMAIN, -1}, {NUMERICOID, -1}, {BYTEAOID, -1}}},
	{2, {{NUMERICOID, -1}, NUMERIC(6, 3)}},
};

enum Mode
{
	MODE_TUPLES,				/* one byte of rows, then tuples */
	MODE_MESSAGE,				/* one ScanResponse */
	MODE_FRAMES,				/* length-prefixed ScanResponses, in chunks */
	MODE_ERROR,					/* the text of grpc-status-details-bin */
	MODE_STATUS,				/* the text of grpc-message */
	MODES
};

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_tuples(const Table *table, const uint8 *data, size_t len, uint32 rows);
static void read_message(const Table *table, const uint8 *data, size_t len);
static void read_frames(const Table *table, const uint8 *data, size_t len, size_t chunk);
static void read_error(const char *header, const uint8 *data, size_t len);
static void read_value(Oid type, Datum value);
static void read_bytes(const void *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;
	fuzz_begin();
	if (sigsetjmp(fuzz_error, 0) == 0)
	{
		const Table *table = &tables[data[0] % lengthof(tables)];
		size_t		chunk = data[2] + 1;

		fuzz_set_encoding(data[1] & 0x80 ? PG_LATIN1 : PG_UTF8);
		size -= 3;
		switch ((data[1] & 0x7f) % MODES)
		{
			case MODE_TUPLES:
				read_tuples(table, data + 3, size, data[2]);
				break;
			case MODE_MESSAGE:
				read_message(table, data + 3, size);
				break;
			case MODE_FRAMES:
				read_frames(table, data + 3, size, chunk);
				break;
			case MODE_ERROR:
				read_error("grpc-status-details-bin", data + 3, size);
				break;
			case MODE_STATUS:
				read_error("grpc-message", data + 3, size);
				break;
		}
	}
	fuzz_end();
	return 0;
}

/* The bytes are copied to a buffer of exactly their size, as reading writes. */
static void
read_tuples(const Table *table, const uint8 *data, size_t len, uint32 rows)
{
	TupleDesc	desc = palloc0(offsetof(struct TupleDescData, attrs) +
							   Max(table->ncolumns, 1) * sizeof(FormData_pg_attribute));
	TupleTableSlot *slot = fuzz_slot(desc);
	HallwayRowReader *reader;
	uint8	   *copy = palloc(len);
	List	   *attnums = NIL;

	memcpy(copy, data, len);
	desc->natts = table->ncolumns;
	for (int i = 0; i < table->ncolumns; i++)
	{
		desc->attrs[i].atttypid = table->columns[i].type;
		desc->attrs[i].atttypmod = table->columns[i].typmod;
		attnums = fuzz_list(table->ncolumns);
	}
	slot->tts_values = palloc0(Max(table->ncolumns, 1) * sizeof(Datum));
	slot->tts_isnull = palloc0(Max(table->ncolumns, 1) * sizeof(bool));

	reader = hallway_reader_create(desc, attnums);
	hallway_reader_batch(reader, copy, len, rows);
	while (hallway_reader_next(reader, slot))
		for (int i = 0; i < table->ncolumns; i++)
			if (!slot->tts_isnull[i])
				read_value(table->columns[i].type, slot->tts_values[i]);
}

static void
read_message(const Table *table, const uint8 *data, size_t len)
{
	HallwayScanMessage message;
	uint8	   *copy = palloc(len);

	memcpy(copy, data, len);
	hallway_scan_message(copy, len, &message);
	if (message.tuples != NULL)
		read_tuples(table, message.tuples, message.len, Min(message.rows, 1000));
}

/* As they would come off the socket, a few bytes at a time. */
static void
read_frames(const Table *table, const uint8 *data, size_t len, size_t chunk)
{
	WireInbox  *inbox = palloc0(sizeof(WireInbox));
	WireFault	fault = WIRE_FAULT_NONE;

	inbox->cxt = CurrentMemoryContext;
	while (len > 0 && fault == WIRE_FAULT_NONE)
	{
		size_t		n = Min(chunk, len);
		uint8	   *piece = palloc(n);
		WireMessage *message;

		memcpy(piece, data, n);
		fault = wire_inbox_feed(inbox, piece, n);
		pfree(piece);
		data += n;
		len -= n;
		while ((message = wire_inbox_take(inbox)) != NULL)
		{
			read_message(table, message->data, message->size);
			wire_inbox_release(inbox, message);
		}
	}
	wire_inbox_clear(inbox);
}

static void
read_error(const char *header, const uint8 *data, size_t len)
{
	WireStream *stream = palloc0(sizeof(WireStream));
	char	   *value = palloc(len);

	memcpy(value, data, len);
	stream->session = palloc0(sizeof(WireSession));
	stream->closed = true;
	stream->status.http_status = 200;
	stream->status.grpc_status = 2;
	if (wire_status_header(&stream->status, CurrentMemoryContext,
						   header, strlen(header), value, len))
		hallway_throw(wire_stream_error(stream, false), NULL);
}

/* Reads all of a value; what PostgreSQL would misread later is a bug here. */
static void
read_value(Oid type, Datum value)
{
	struct varlena *v = (struct varlena *) DatumGetPointer(value);
	int16		len = fuzz_type_len(type);

	if (len > 0 && len <= 8)
		return;
	if (len > 0)
	{
		read_bytes(v, len);
		return;
	}
	if (VARATT_IS_EXTERNAL(v) || VARATT_IS_COMPRESSED(v))
		abort();
	read_bytes(VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
	if (type == TEXTOID || type == JSONOID || type == VARCHAROID)
	{
		int			encoding = GetDatabaseEncoding();
		int			n = VARSIZE_ANY_EXHDR(v);

		if (pg_encoding_verifymbstr(encoding, VARDATA_ANY(v), n) != n)
			abort();
	}
	if (type == NUMERICOID)
	{
		int			n = (VARSIZE_ANY_EXHDR(v) - 2) / 2;
		const char *digits = (char *) VARDATA_ANY(v) + 2;

		for (int i = 0; i < n; i++)
		{
			int16		digit;

			memcpy(&digit, digits + 2 * i, sizeof(digit));
			if (digit < 0 || digit > 9999 || (digit == 0 && (i == 0 || i == n - 1)))
				abort();
		}
	}
}

static void
read_bytes(const void *data, size_t len)
{
	volatile unsigned char byte;

	for (size_t i = 0; i < len; i++)
		byte = ((const unsigned char *) data)[i];
	(void) byte;
}
