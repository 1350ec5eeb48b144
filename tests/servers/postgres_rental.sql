-- A film rental in PostgreSQL, with everything that a dump can forget. psql's variable `rows` says how large it is.
-- Two runs with the same number make the same content. The roles come first: they belong to the whole server.

CREATE ROLE "Büro" NOLOGIN;
CREATE ROLE clerk LOGIN PASSWORD 'clerks-password' CONNECTION LIMIT 3;
CREATE ROLE "o'neil \ ""x""" LOGIN IN ROLE "Büro";
GRANT "Büro" TO clerk WITH ADMIN OPTION;
ALTER ROLE clerk SET statement_timeout = '1h';
COMMENT ON ROLE clerk IS 'stands at the counter';

CREATE DATABASE rental OWNER "Büro" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8' CONNECTION LIMIT 50;
COMMENT ON DATABASE rental IS $$It's DATABASE rental
--
-- Name: DATABASE rental; Type: ACL; Schema: -; Owner: postgres
--
\connect rental$$;
ALTER DATABASE rental SET search_path = 'public', 'Verleih';
ALTER DATABASE rental SET work_mem = '5MB';
ALTER ROLE clerk IN DATABASE rental SET enable_seqscan = off;
REVOKE ALL ON DATABASE rental FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE rental TO clerk;
GRANT CREATE ON DATABASE rental TO "o'neil \ ""x""";

\connect rental
SET search_path = public;

CREATE EXTENSION pg_trgm;
CREATE SCHEMA "Verleih" AUTHORIZATION "Büro";
COMMENT ON SCHEMA "Verleih" IS 'Übersicht';
GRANT USAGE ON SCHEMA "Verleih" TO clerk;
ALTER DEFAULT PRIVILEGES IN SCHEMA "Verleih" GRANT SELECT ON TABLES TO clerk;

CREATE TYPE rating AS ENUM ('G', 'PG', 'R', 'ab 18 "Jahre"');
CREATE DOMAIN year AS integer CHECK (VALUE BETWEEN 1895 AND 2200);
CREATE TYPE address AS (street text, town text);
CREATE COLLATION german (locale = 'C.UTF-8');

CREATE TABLE film (
    film_id integer GENERATED ALWAYS AS IDENTITY (START 7 INCREMENT 3) PRIMARY KEY,
    title text COLLATE german NOT NULL,
    description text,
    release_year year DEFAULT 1999,
    rating rating NOT NULL DEFAULT 'G',
    length numeric(6, 2),
    features text[],
    extra jsonb,
    poster bytea,
    words tsvector GENERATED ALWAYS AS (to_tsvector('simple', title || ' ' || coalesce(description, ''))) STORED,
    CONSTRAINT "länge" CHECK (length > 0)
);
COMMENT ON COLUMN film.title IS 'it''s the "title"';
CREATE INDEX film_words ON film USING gin (words);
CREATE INDEX film_title ON film USING gin (title gin_trgm_ops);
CREATE UNIQUE INDEX film_lower ON film (lower(title)) WHERE film_id > 10;
INSERT INTO film (title, description, release_year, rating, length, features, extra, poster)
SELECT 'Film ' || i || ' ' || md5(i::text), CASE WHEN i % 7 > 0 THEN repeat(md5((i * 3)::text), 4) END,
       1895 + i % 130, (enum_range(NULL::rating))[1 + i % 4], 1 + i % 300 + 0.25,
       ARRAY['Ton', NULL, 'Größe "' || i || '"', E'a\\b,{c}'], jsonb_build_object('nr', i, 'ß', E'\t"\n'),
       decode(md5((i * 5)::text), 'hex')
FROM generate_series(1, :rows / 10 + 1) AS i;

CREATE TABLE customer (
    customer_id serial PRIMARY KEY,
    name text NOT NULL,
    home address,
    born date,
    active boolean NOT NULL DEFAULT true,
    friend_id integer REFERENCES customer DEFERRABLE INITIALLY DEFERRED
);
INSERT INTO customer (name, home, born, friend_id)
SELECT (ARRAY['Jürgen', 'O''Hara', '王小明', 'Zoë', E'tab\there', 'back\slash', ''])[1 + i % 7] || i,
       ROW('Straße "' || i || '"', 'Köln')::address, date '1950-01-01' + i % 20000, CASE WHEN i > 1 THEN 1 + i / 2 END
FROM generate_series(1, :rows / 20 + 5) AS i;
SELECT setval('customer_customer_id_seq', 100000, false);

CREATE TABLE rental (
    rental_id bigint NOT NULL,
    film_id integer NOT NULL REFERENCES film,
    customer_id integer NOT NULL REFERENCES customer,
    rented timestamptz NOT NULL,
    note text,
    PRIMARY KEY (rental_id, rented)
) PARTITION BY RANGE (rented);
CREATE TABLE rental_2024 PARTITION OF rental FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE rental_2025 PARTITION OF rental FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY HASH (rented);
CREATE TABLE rental_2025_0 PARTITION OF rental_2025 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE rental_2025_1 PARTITION OF rental_2025 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE rental_rest PARTITION OF rental DEFAULT;
CREATE INDEX ON rental (customer_id);
INSERT INTO rental
SELECT i, 7 + 3 * (i % (:rows / 10 + 1)), 1 + i % (:rows / 20 + 5),
       timestamptz '2023-12-31 23:00:00+00' + make_interval(mins => i % 1100000), repeat(md5(i::text), 1 + i % 8)
FROM generate_series(1, :rows) AS i;

-- Text that looks like a part of a dump. As COPY writes it, each of the rows stands on a line of its own.
CREATE TABLE "Verleih"."Zeile -- für ""Zeile""" (line text);
INSERT INTO "Verleih"."Zeile -- für ""Zeile""" VALUES
    ('--'), ('-- Name: DATABASE rental; Type: ACL; Schema: -; Owner: postgres'), ('--'), (''),
    ('GRANT ALL ON DATABASE rental TO PUBLIC;'), (NULL), ('\.'), ('\N'), ('\connect rental'), (E'two\nlines\r\n\ttab'),
    ('--'), ('-- PostgreSQL database dump complete'), ('--'), ('COPY x (y) FROM stdin;'), ('$$'), ('''');
CREATE TABLE nothing ();
CREATE UNLOGGED TABLE session (id uuid, data json);
INSERT INTO session VALUES ('12345678-1234-1234-1234-123456789abc', '{"a" : 1}');

CREATE VIEW "Verleih"."Übersicht" AS
    SELECT f.title, count(*) AS rentals, 'DATABASE rental' AS "''" FROM film f JOIN rental r USING (film_id) GROUP BY f.title;
CREATE MATERIALIZED VIEW per_year AS SELECT release_year, count(*) AS films FROM film GROUP BY 1;
CREATE RECURSIVE VIEW chain (id, depth) AS
    SELECT 1, 0 UNION ALL SELECT customer_id, depth + 1 FROM customer JOIN chain ON friend_id = id WHERE depth < 5 AND customer_id > 1;

CREATE FUNCTION looks_like_a_dump(x text DEFAULT 'it''s') RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $body$
BEGIN
    RETURN $$don't
--
-- Name: DATABASE rental; Type: ACL; Schema: -; Owner: postgres
--

GRANT ALL ON DATABASE rental TO PUBLIC;
\connect rental
COPY x (y) FROM stdin;
$$ || x;  -- an odd quote: '
END $body$;
CREATE FUNCTION rented_by(who integer) RETURNS bigint STABLE BEGIN ATOMIC SELECT count(*) FROM rental WHERE customer_id = who; END;
CREATE PROCEDURE forget(who integer) LANGUAGE sql AS 'UPDATE customer SET active = false WHERE customer_id = who';
CREATE AGGREGATE longest (integer) (sfunc = int4larger, stype = integer);
CREATE OPERATOR === (leftarg = text, rightarg = text, function = texteq);
REVOKE EXECUTE ON FUNCTION looks_like_a_dump FROM PUBLIC;
GRANT EXECUTE ON FUNCTION looks_like_a_dump TO clerk;

CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.note = coalesce(NEW.note, ''touched''); RETURN NEW; END';
CREATE TRIGGER touch BEFORE INSERT OR UPDATE OF note ON rental FOR EACH ROW EXECUTE FUNCTION touched();
CREATE FUNCTION noticed() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END';
CREATE EVENT TRIGGER notice ON ddl_command_end EXECUTE FUNCTION noticed();
ALTER EVENT TRIGGER notice DISABLE;
CREATE RULE quiet AS ON DELETE TO session DO INSTEAD NOTHING;
CREATE STATISTICS film_both (dependencies) ON release_year, rating FROM film;
CREATE PUBLICATION everything FOR TABLE film, customer;

ALTER TABLE customer ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON customer TO clerk USING (name = current_user);
GRANT SELECT ON film, rental TO clerk;
GRANT SELECT (name), UPDATE (active) ON customer TO clerk WITH GRANT OPTION;
GRANT USAGE ON SEQUENCE customer_customer_id_seq TO "Büro";
ALTER TABLE "Verleih"."Zeile -- für ""Zeile""" OWNER TO "o'neil \ ""x""";

SELECT lo_from_bytea(100000 + i, decode(repeat(md5(i::text), 1000), 'hex')) FROM generate_series(1, 3) AS i \g /dev/null
COMMENT ON LARGE OBJECT 100001 IS 'ein Bild';
GRANT SELECT ON LARGE OBJECT 100002 TO clerk;
