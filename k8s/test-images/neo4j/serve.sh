#!/bin/sh
# Starts Neo4j in /data with the first password NEO4J_PASSWORD.
set -eu
export NEO4J_HOME=/data NEO4J_CONF=/data/conf
mkdir -p /data/conf
cat > /data/conf/neo4j.conf <<'CONF'
server.default_listen_address=0.0.0.0
server.bolt.listen_address=:7687
server.http.enabled=false
server.memory.pagecache.size=64m
db.tx_log.preallocate=false
dbms.usage_report.enabled=false
CONF
[ -e /data/data/dbms/auth.ini ] ||
  java -Xmx128m -XX:+UseSerialGC -cp '/jars/*' org.neo4j.cli.AdminTool dbms set-initial-password "$NEO4J_PASSWORD"
exec java -Xms256m -Xmx256m -XX:+UseSerialGC -Djava.io.tmpdir=/data \
  --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/java.io=ALL-UNNAMED \
  --add-opens=java.base/sun.nio.ch=ALL-UNNAMED -cp '/jars/*' org.neo4j.server.CommunityEntryPoint \
  --home-dir=/data --config-dir=/data/conf
