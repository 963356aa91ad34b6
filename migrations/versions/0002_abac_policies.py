"""abac policies"""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('policy_files',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('name', sa.String(length=63), nullable=False),
    sa.Column('cluster_id', sa.String(length=24), nullable=True),
    sa.Column('owner', sa.String(length=255), nullable=False),
    sa.Column('is_alone', sa.Boolean(), nullable=False),
    sa.Column('current', sa.Integer(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('published_version', sa.Integer(), nullable=True),
    sa.Column('published_digest', sa.String(length=64), nullable=False),
    sa.Column('published_members', sa.String(length=64), nullable=False),
    sa.Column('published_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('published_text', sa.Text(), nullable=False),
    sa.Column('withdrawn_text', sa.Text(), nullable=False),
    sa.Column('is_in_folder', sa.Boolean(), nullable=False),
    sa.ForeignKeyConstraint(['cluster_id'], ['clusters.id'], name=op.f('fk_policy_files_cluster_id_clusters'), ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_policy_files')),
    sa.UniqueConstraint('name', name=op.f('uq_policy_files_name'))
    )
    op.create_table('policy_versions',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('file_id', sa.String(length=24), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('lines', sa.Integer(), nullable=False),
    sa.Column('references', sa.JSON(), nullable=False),
    sa.Column('reason', sa.String(length=500), nullable=False),
    sa.Column('author', sa.String(length=255), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['file_id'], ['policy_files.id'], name=op.f('fk_policy_versions_file_id_policy_files'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_policy_versions')),
    sa.UniqueConstraint('file_id', 'number', name=op.f('uq_policy_versions_file_id_number'))
    )


def downgrade() -> None:
    op.drop_table('policy_versions')
    op.drop_table('policy_files')
