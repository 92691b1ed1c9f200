/*-------------------------------------------------------------------------
 *
 * rows.c
 *		Batches of binary tuples -> slots.
 *
 * This is where a scan's time goes, so values of common types are built from
 * the bytes without a function call, and where they lie: a short string's
 * varlena header fits into the length word before it. Everything else is
 * values.c's. No length, count or byte is trusted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "nodes/memnodes.h"
#include "utils/date.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "rows.h"

/* Whether a time needs no rounding to its column's precision. */
static inline bool
is_multiple(int64 time, int64 unit)
{
	return likely(unit == 1) || time % unit == 0;
}

/* One value that is not NULL. */
static pg_attribute_always_inline Datum
decode(HallwayRowReader *reader, ValueReader *value, const uint8 *data, uint32 len)
{
	switch (value->decoder)
	{
		case DECODE_BOOL:
			if (likely(len == 1))
				return BoolGetDatum(*data != 0);
			break;
		case DECODE_INT2:
			if (likely(len == 2))
				return Int16GetDatum((int16) get16(data));
			break;
		case DECODE_INT4:
		case DECODE_FLOAT4:
			/* A float4's bits stand in a Datum as an int4's do. */
			if (likely(len == 4))
				return Int32GetDatum((int32) get32(data));
			break;
		case DECODE_INT8:
		case DECODE_FLOAT8:
			if (likely(len == 8))
				return Int64GetDatum((int64) get64(data));
			break;
		case DECODE_DATE:
			if (likely(len == 4))
			{
				DateADT		date = (int32) get32(data);

				if (likely(IS_VALID_DATE(date)) || DATE_NOT_FINITE(date))
					return DateADTGetDatum(date);
			}
			break;
		case DECODE_TIME:
			if (likely(len == 8))
			{
				TimeADT		time = (int64) get64(data);

				if (likely(time >= 0 && time <= USECS_PER_DAY && is_multiple(time, value->unit)))
					return TimeADTGetDatum(time);
			}
			break;
		case DECODE_TIMESTAMP:
			if (likely(len == 8))
			{
				Timestamp	timestamp = (int64) get64(data);

				if ((likely(IS_VALID_TIMESTAMP(timestamp)) && is_multiple(timestamp, value->unit)) ||
					TIMESTAMP_NOT_FINITE(timestamp))
					return TimestampGetDatum(timestamp);
			}
			break;
		case DECODE_UUID:
			if (likely(len == UUID_LEN))
				return PointerGetDatum(data);
			break;
		case DECODE_NUMERIC:
			{
				Datum		result;

				if (likely(hallway_numeric_decode(unconstify(uint8 *, data), len,
												  value->typmod, &result)))
					return result;
			}
			break;
		case DECODE_TEXT:
			if (likely(len <= value->limit && plain_text(data, len)))
				return varlena_datum(data, len);
			break;
		case DECODE_BYTEA:
			return varlena_datum(data, len);
		default:
			break;
	}
	return hallway_decode_slow(reader, value, data, len, false);
}

/* ---- the reader ---------------------------------------------------------- */

HallwayRowReader *
hallway_reader_create(TupleDesc desc, List *attnums)
{
	HallwayRowReader *reader;
	ListCell   *lc;

	reader = palloc0(offsetof(HallwayRowReader, columns) +
					 Max(list_length(attnums), 1) * sizeof(ValueReader));
	reader->cxt = CurrentMemoryContext;
	reader->rowcxt = AllocSetContextCreate(CurrentMemoryContext, "Hallway row",
										   ALLOCSET_DEFAULT_SIZES);
	reader->desc = desc;
	reader->utf8 = GetDatabaseEncoding() == PG_UTF8;
	foreach(lc, attnums)
	{
		int			attindex = lfirst_int(lc) - 1;
		ValueReader *value = &reader->columns[reader->ncolumns++];
		Form_pg_attribute att;

		if (attindex < 0 || attindex >= desc->natts)
			elog(ERROR, "invalid attribute number %d", attindex + 1);
		att = TupleDescAttr(desc, attindex);
		hallway_value_init(value, att->atttypid, att->atttypmod, reader->cxt, false);
		value->attindex = attindex;
	}
	return reader;
}

void
hallway_reader_batch(HallwayRowReader *reader, const uint8 *data, size_t len, uint32 rows)
{
	reader->pos = data;
	reader->end = data + len;
	reader->left = rows;
}

bool
hallway_reader_next(HallwayRowReader *reader, TupleTableSlot *slot)
{
	const uint8 *pos = reader->pos;
	const uint8 *end = reader->end;
	Datum	   *values = slot->tts_values;
	bool	   *isnull = slot->tts_isnull;
	MemoryContext old;

	if (reader->left == 0)
	{
		if (pos != end)
			hallway_malformed_rows("There are bytes after the last row of a batch.");
		return false;
	}
	if (end - pos < 2 || get16(pos) != reader->ncolumns)
		hallway_malformed_rows("A row has another number of columns than were asked for.");
	pos += 2;

	ExecClearTuple(slot);
	if (unlikely(!reader->rowcxt->isReset))
		MemoryContextReset(reader->rowcxt);
	old = MemoryContextSwitchTo(reader->rowcxt);
	if (reader->ncolumns < reader->desc->natts)
		memset(isnull, true, reader->desc->natts * sizeof(bool));

	for (ValueReader *value = reader->columns, *last = value + reader->ncolumns;
		 value < last; value++)
	{
		int			i = value->attindex;
		uint32		len;

		if (unlikely(end - pos < 4))
			hallway_malformed_rows("A batch ends within a row.");
		len = get32(pos);
		pos += 4;
		if (len == PG_UINT32_MAX)
		{
			values[i] = unlikely(value->domain)
				? hallway_decode_slow(reader, value, NULL, 0, true) : (Datum) 0;
			isnull[i] = true;
			continue;
		}
		if (unlikely(len > end - pos))
			hallway_malformed_rows("A value is longer than the batch it is in.");
		values[i] = likely(!value->domain) ? decode(reader, value, pos, len)
			: hallway_decode_slow(reader, value, pos, len, false);
		isnull[i] = false;
		pos += len;
	}
	MemoryContextSwitchTo(old);
	reader->pos = pos;
	reader->left--;
	ExecStoreVirtualTuple(slot);
	return true;
}

/* decode() where it need not be inlined. */
Datum
hallway_decode_value(HallwayRowReader *reader, ValueReader *value, const uint8 *data, uint32 len)
{
	return decode(reader, value, data, len);
}
