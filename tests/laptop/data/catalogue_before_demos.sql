BEGIN TRANSACTION;
CREATE TABLE catalogue_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT catalogue_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "catalogue_version" VALUES('0001');
CREATE TABLE datasets (
	name VARCHAR(200) NOT NULL, 
	month VARCHAR(7) NOT NULL, 
	url TEXT NOT NULL, 
	expected_bytes BIGINT, 
	expected_sha256 VARCHAR(64), 
	PRIMARY KEY (name)
);
INSERT INTO "datasets" VALUES('fhvhv_tripdata_sample_2023-01','2023-01','file:///gone/taxiway/laptop/sample/fhvhv_tripdata_sample_2023-01.parquet',NULL,NULL);
INSERT INTO "datasets" VALUES('fhvhv_tripdata_sample_2023-02','2023-02','file:///gone/taxiway/laptop/sample/fhvhv_tripdata_sample_2023-02.parquet',NULL,NULL);
INSERT INTO "datasets" VALUES('fhvhv_tripdata_sample_2023-03','2023-03','file:///gone/taxiway/laptop/sample/fhvhv_tripdata_sample_2023-03.parquet',NULL,NULL);
INSERT INTO "datasets" VALUES('my own','2023-01','https://example.com/my-own.parquet',NULL,NULL);
CREATE TABLE ingestion_log (
	id INTEGER NOT NULL, 
	dataset VARCHAR(200) NOT NULL, 
	month VARCHAR(7) NOT NULL, 
	url TEXT NOT NULL, 
	dag_run_id VARCHAR(250), 
	again BOOLEAN NOT NULL, 
	started DATETIME NOT NULL, 
	finished DATETIME, 
	status VARCHAR(10) NOT NULL, 
	bytes BIGINT, 
	sha256 VARCHAR(64), 
	rows BIGINT, 
	s3_bucket VARCHAR(63), 
	s3_key VARCHAR(1024), 
	source_version TEXT, 
	error TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "ingestion_log" VALUES(1,'fhvhv_tripdata_sample_2023-01','2023-01','file:///gone/taxiway/laptop/sample/fhvhv_tripdata_sample_2023-01.parquet','demo__2023-01__20261101T000000',1,'2026-11-01 00:00:01.000000','2026-11-01 00:00:02.000000','complete',458126,'936d1339260970fcfa53b62ec4d9553f35dec5b64af00f5eb4e62397b36d993b',14977,'taxiway-lake','raw/hvfhv/year=2023/month=01/fhvhv_tripdata_sample_2023-01.parquet','mtime_ns=1 bytes=458126',NULL);
CREATE INDEX ix_ingestion_log_dataset ON ingestion_log (dataset);
COMMIT;
